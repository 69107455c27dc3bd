//! One thread per core, and each stays there.
//!
//! A stand waits for SQLite's threads some three hundred times, and waking a thread on another core costs more than the
//! statement: 0.13 s of CPU per seed where its threads share a core, 0.31 s where they may move (60 seeds, two cores).

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Does the work on every core this process may use, at once. Threads that it starts stay on their core, too.
pub fn on_each(work: impl Fn() + Sync) {
    let ours = sched_getaffinity(None).expect("the cores of this process");
    let (ours, work) = (&ours, &work);
    std::thread::scope(|scope| {
        for core in (0..CpuSet::MAX_CPU).filter(|core| ours.is_set(*core)) {
            scope.spawn(move || {
                let mut one = CpuSet::new();
                one.set(core);
                sched_setaffinity(None, &one).expect("one of our cores");
                work();
            });
        }
    });
}
