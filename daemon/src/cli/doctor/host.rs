//! The kernel and the people of this machine.

use super::{Finding, advice, bad, good};

/// What a stack needs of the kernel (stack-facts 3.5: one service listens on an IPv6 socket), and who else is here.
pub fn look() -> Vec<Finding> {
    let mut findings = Vec::new();
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").unwrap_or_default();
    findings.push(match disabled.trim() {
        "0" => good("IPv6 sockets are available, which realtime needs"),
        _ => {
            bad("IPv6 is switched off in the kernel and realtime listens on an IPv6 socket: set net.ipv6.conf.all.disable_ipv6=0")
        }
    });
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let people = accounts(&passwd);
    if !people.is_empty() {
        findings.push(advice(format!("local accounts reach unpublished container ports and are trusted: {}", people.join(", "))));
    }
    findings
}

/// Accounts that a person or a program may log in to, in the order of the file.
fn accounts(passwd: &str) -> Vec<&str> {
    (passwd.lines())
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let uid: u32 = fields.get(2)?.parse().ok()?;
            let shell = fields.get(6)?;
            ((1000..60_000).contains(&uid) && !shell.ends_with("nologin") && !shell.ends_with("false")).then_some(fields[0])
        })
        .collect()
}

/// How many more containers get a session keyring: each takes one key of the account that the engine runs as. `None`
/// where the kernel does not say.
pub fn keyrings_left(mapped_users: bool) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    // Root's own limit is another one; an engine whose root is an ordinary account has that account's.
    let limit = match mapped_users {
        true => read("/proc/sys/kernel/keys/maxkeys")?,
        false => read("/proc/sys/kernel/keys/root_maxkeys")?,
    };
    let used = match mapped_users {
        true => 0,
        false => keys_of_root(&read("/proc/key-users")?)?,
    };
    Some(limit.trim().parse::<u64>().ok()?.saturating_sub(used))
}

/// `    0:    73 72/72 67/1000000 1234/25000000`: usage, keys, keys against the quota, bytes against the quota.
fn keys_of_root(key_users: &str) -> Option<u64> {
    let line = key_users.lines().find_map(|line| line.trim_start().strip_prefix("0:"))?;
    line.split_whitespace().nth(2)?.split('/').next()?.parse().ok()
}

/// Bytes that this machine could still give to processes.
pub fn memory_available() -> Option<u64> {
    available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let users = "    0:    73 72/72 67/1000000 1234/25000000\n 1000:     9 9/9 9/200 100/20000\n";
        assert_eq!(keys_of_root(users), Some(67));
        assert_eq!(keys_of_root(" 1000:     9 9/9 9/200 100/20000\n"), None);
        assert_eq!(available("MemTotal: 10 kB\nMemAvailable:      2048 kB\n"), Some(2048 * 1024));
    }

    #[test]
    fn accounts_that_log_in_are_named_and_no_others() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/srv/ann:/bin/bash\n\
                      svc:x:1001:1001::/:/usr/sbin/nologin\nnobody:x:65534:65534::/:/bin/sh\n";
        assert_eq!(accounts(passwd), ["ann"]);
    }
}
