//! The fence under generated input: good stacks with something changed, and texts that were never meant to be stacks. What
//! comes through is judged by `oracle`, which shares no code with the fence.
//!
//! `SUPAMANAGER_TEST_CASES` makes it more or less, `SUPAMANAGER_TEST_SEED` another sequence.

#[path = "fixtures/fenced.rs"]
mod fenced;
#[path = "fence_fuzz/oracle.rs"]
mod oracle;
#[path = "fence_fuzz/pools.rs"]
mod pools;
#[path = "fence_fuzz/text.rs"]
mod text;
#[path = "fence_fuzz/tree.rs"]
mod tree;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use rustix::time::{ClockId, clock_gettime};
use supamanager::domain::Secret;
use supamanager::stack::compose::{self, ComposeError};
use supamanager::stack::{FenceRules, FencedStack, ImageReference, Violation, fence};

use fenced::{GOOD, PROJECT};

const CASES: u32 = 10_000;
const SEED: u64 = 1;
/// Of the processor's time, which other tests do not use up: a large text takes 60 ms in a debug build, a good stack 0.3 ms.
const CPU_MAX: Duration = Duration::from_secs(1);
/// When a text is given up.
const DEADLINE: Duration = Duration::from_secs(60);
/// What the fence tells at most: all of it is joined into one message, and stored.
const VIOLATIONS_MAX: usize = 100;
/// Of what an answer may be longer than its question.
const ANSWER_FACTOR: usize = 32;

static RULES: LazyLock<FenceRules> = LazyLock::new(fenced::rules);

enum Answer {
    Accepted(Box<FencedStack>),
    Unreadable(ComposeError),
    Refused(Vec<Violation>),
}

fn answer(text: &str) -> Answer {
    match compose::parse(text).map(|stack| fence::check(stack, &RULES)) {
        Err(error) => Answer::Unreadable(error),
        Ok(Err(violations)) => Answer::Refused(violations),
        Ok(Ok(stack)) => Answer::Accepted(Box::new(stack)),
    }
}

/// What was answered, by word.
#[derive(Default)]
struct Tally {
    accepted: u32,
    unreadable: BTreeMap<&'static str, u32>,
    rules: BTreeMap<&'static str, u32>,
    slowest: Duration,
}

impl Tally {
    /// Judges one text; `extra` looks at what was accepted.
    fn judge(&mut self, text: &str, extra: impl FnOnce() -> Vec<String>) -> Result<(), TestCaseError> {
        let wrong = |what: String| TestCaseError::fail(format!("{what}\n--- {} bytes ---\n{}\n---", text.len(), shown(text)));
        match self.answered(text).map_err(wrong)? {
            Answer::Accepted(stack) => {
                self.accepted += 1;
                let foreign = text.find(oracle::BREAKS_OF_COMPOSE).map(|at| format!("Compose breaks the line at byte {at}"));
                let faults: Vec<String> = oracle::faults(&stack).into_iter().chain(foreign).chain(extra()).collect();
                if faults.is_empty() { Ok(()) } else { Err(wrong(format!("accepted, but {}", faults.join("; ")))) }
            }
            Answer::Unreadable(error) => {
                *self.unreadable.entry(kind_of(&error.message)).or_default() += 1;
                is_bounded(text, 1, error.path.len() + error.message.len()).map_err(wrong)
            }
            Answer::Refused(violations) => {
                for rule in violations.iter().map(|violation| violation.rule).collect::<BTreeSet<_>>() {
                    *self.rules.entry(rule).or_default() += 1;
                }
                let bytes = violations.iter().map(|violation| violation.path.len() + violation.message.len()).sum();
                is_bounded(text, violations.len(), bytes).map_err(wrong)
            }
        }
    }

    /// In a thread of its own, so that what never ends is a failure and not a test that never ends.
    fn answered(&mut self, text: &str) -> Result<Answer, String> {
        let (send, receive) = mpsc::channel();
        let owned = text.to_owned();
        // Nobody receives it any more when the deadline has passed.
        thread::spawn(move || send.send((answer(&owned), cpu_used())).is_ok());
        let (answer, used) = receive.recv_timeout(DEADLINE).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => format!("no answer within {DEADLINE:?}"),
            mpsc::RecvTimeoutError::Disconnected => "it panicked, see above".to_owned(),
        })?;
        self.slowest = self.slowest.max(used);
        if used > CPU_MAX { Err(format!("it took {used:?}")) } else { Ok(answer) }
    }

    fn print(&self, title: &str, cases: u32, seed: u64) {
        println!("\n{title}: {cases} cases, seed {seed}, slowest {:?}\n{:<28} count", self.slowest, "rule");
        let unreadable = self.unreadable.iter().map(|(kind, count)| (format!("(unreadable) {kind}"), *count));
        let rules = self.rules.iter().map(|(rule, count)| ((*rule).to_owned(), *count));
        for (word, count) in [("accepted".to_owned(), self.accepted)].into_iter().chain(rules).chain(unreadable) {
            println!("{word:<28} {count}");
        }
    }
}

/// By this thread, since it began.
fn cpu_used() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.try_into().unwrap_or_default(), used.tv_nsec.try_into().unwrap_or_default())
}

fn is_bounded(text: &str, violations: usize, bytes: usize) -> Result<(), String> {
    if violations > VIOLATIONS_MAX || bytes > (64 << 10) + ANSWER_FACTOR * text.len() {
        return Err(format!("{violations} violations of {bytes} bytes for a text of {}", text.len()));
    }
    Ok(())
}

/// Readable on a terminal and in full where that is short.
fn shown(text: &str) -> String {
    let visible = |letter: char| {
        if letter == '\n' || (!letter.is_control() && letter.is_ascii()) {
            letter.to_string()
        } else {
            letter.escape_unicode().to_string()
        }
    };
    let head: String = text.chars().take(6_000).map(visible).collect();
    if text.chars().count() > 6_000 { format!("{head}...") } else { head }
}

fn kind_of(message: &str) -> &'static str {
    const KINDS: [&str; 17] = [
        "not YAML",
        "twice",
        "anchor",
        "alias",
        "tag (",
        "break a line",
        "more than one document",
        "is not a key",
        "lacks",
        "control character",
        "holds a `$`",
        "quote it",
        "too large",
        "at most",
        "must be",
        "only `",
        "write ",
    ];
    KINDS.into_iter().find(|kind| message.contains(kind)).unwrap_or("other")
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: write a number")))
}

/// Runs a property over generated input. `share` of the cases, for what costs more.
fn fuzz<S: Strategy>(
    title: &str,
    share: u32,
    inputs: &S,
    look: impl Fn(&mut Tally, S::Value) -> Result<(), TestCaseError>,
) -> Tally
where
    S::Value: Debug,
{
    let seed = number("SUPAMANAGER_TEST_SEED").unwrap_or(SEED);
    let cases = (number("SUPAMANAGER_TEST_CASES").unwrap_or(CASES) / share).max(1);
    let config = Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let tally = RefCell::new(Tally::default());
    let outcome = TestRunner::new(config).run(inputs, |input| look(&mut tally.borrow_mut(), input));
    let tally = tally.into_inner();
    tally.print(title, cases, seed);
    outcome.unwrap_or_else(|error| panic!("{error}\nseed {seed}: SUPAMANAGER_TEST_SEED repeats it"));
    tally
}

/// Whether a run is long enough to say what it must have come across.
fn is_full() -> bool {
    number("SUPAMANAGER_TEST_CASES").is_none_or(|cases: u32| cases >= CASES)
}

#[test]
fn a_changed_stack_is_refused_or_harmless() {
    let good = tree::good();
    let form = prop_oneof![Just(tree::Form::Block), Just(tree::Form::Flow)];
    let tally = fuzz("changed stacks", 1, &(tree::changes(), form), |tally, (changes, form)| {
        let mut changed = good.clone();
        changes.iter().for_each(|change| tree::apply(&mut changed, change));
        tally.judge(&tree::write(&changed, form), || oracle::passed_over(&changed))
    });
    if is_full() {
        assert!(tally.accepted >= CASES / 100, "only {} were accepted: the generator asks for too much", tally.accepted);
        assert!(tally.rules.len() >= 25, "only {} rules were hit: {:?}", tally.rules.len(), tally.rules.keys());
        assert!(tally.unreadable.len() >= 8, "only {:?} were met by the reader", tally.unreadable);
    }
}

#[test]
fn a_changed_text_is_refused_or_harmless() {
    let tally = fuzz("changed texts", 2, &text::edits(), |tally, edits| {
        let changed = edits.iter().fold(GOOD.to_owned(), |text, edit| text::apply(&text, edit));
        tally.judge(&changed, Vec::new)
    });
    if is_full() {
        assert!(tally.accepted >= CASES / 200, "only {} were accepted: the generator asks for too much", tally.accepted);
        assert!(tally.unreadable.len() >= 8, "only {:?} were met by the reader", tally.unreadable);
    }
}

#[test]
fn a_costly_text_is_answered_in_time() {
    let tally = fuzz("costly texts", 25, &text::costly(), |tally, costly| tally.judge(&text::written(&costly), Vec::new));
    if is_full() {
        let met = |kind: &str| tally.unreadable.contains_key(kind);
        assert!(met("anchor") && met("at most") && met("not YAML"), "only {:?} were met by the reader", tally.unreadable);
        assert!(tally.accepted > 0, "a comment and a variable of any length below the limit are harmless");
    }
}

/// An image is compared in its full form, so the full form of it must be itself, and lie where it says.
#[test]
fn an_image_is_read_in_one_way() {
    let images = prop_oneof![
        3 => pools::joined(&[pools::REGISTRIES, pools::REPOSITORIES, pools::TAGS]),
        1 => pools::noise(),
    ];
    fuzz("images", 2, &images, |tally, text| {
        let Ok(image) = ImageReference::parse(&text) else { return Ok(()) };
        tally.accepted += 1;
        let full = image.to_string();
        prop_assert!(full.is_ascii() && !full.contains("..") && !full.contains("//"), "{text:?} is {full:?}");
        let again = ImageReference::parse(&full);
        prop_assert_eq!(again.as_ref(), Ok(&image));
        let places = [format!("{}/", image.registry), format!("{}/{}", image.registry, image.repository)];
        prop_assert!(places.iter().all(|place| image.is_under(place)), "{full:?} is not under {places:?}");
        prop_assert!(!image.is_under("evil.example.org/team/") && !image.is_under(""));
        Ok(())
    });
}

/// Secrets meet text in one place, and what they hold is not read again.
#[test]
fn a_value_is_filled_in_once() {
    let values = prop_oneof![3 => pools::run_of(pools::PIECES), 1 => pools::noise()];
    fuzz("values", 2, &values, |tally, value| {
        let secret = Secret::new("${HOME}$$".to_owned());
        let Ok(names) = compose::references(&value) else { return Ok(()) };
        tally.accepted += 1;
        let known = names.iter().all(|name| *name == "DB_PASSWORD");
        let resolved = compose::resolve(&value, |name| (name == "DB_PASSWORD").then_some(&secret));
        prop_assert_eq!(resolved.is_ok(), known);
        if let Ok(resolved) = resolved {
            prop_assert_eq!(resolved.expose(), &filled(&value, secret.expose()));
        }
        Ok(())
    });
}

fn filled(value: &str, secret: &str) -> String {
    let (mut out, mut rest) = (String::new(), value);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let is_pair = after.starts_with('$');
        out.push_str(if is_pair { "$" } else { secret });
        rest = if is_pair { &after[1..] } else { after.split_once('}').map_or("", |(_, rest)| rest) };
    }
    out + rest
}
