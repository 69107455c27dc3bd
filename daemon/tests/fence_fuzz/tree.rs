//! A stack as a tree, changes to it, and YAML of what has become of it.
//!
//! Mappings keep their order and may have a key twice: what YAML can say and a map cannot is asked for too.

use proptest::prelude::*;
use proptest::sample::{Index, Select};
use proptest::strategy::Union;

use crate::pools::{self, joined, noise, one, run_of};

#[derive(Debug, Clone)]
pub enum Tree {
    /// Written as it is.
    Plain(String),
    /// Written in double quotes.
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// One change; an index counts all nodes of the tree.
#[derive(Debug, Clone)]
pub enum Change {
    /// Sets what stands at the end of these keys; what is not there on the way is made.
    Set(Vec<String>, Tree),
    /// Adds to the list at the end of these keys.
    Push(Vec<String>, Tree),
    Insert(Index, String, Tree),
    Replace(Index, Tree),
    /// Puts a word into a text.
    Splice(Index, Index, String),
    Rename(Index, Index, String),
    Double(Index, Index),
    Remove(Index, Index),
    Swap(Index, Index),
}

/// How the tree is written.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    Block,
    Flow,
}

pub fn good() -> Tree {
    let value: serde_json::Value = serde_saphyr::from_str(crate::GOOD).expect("the good stack is YAML");
    of_json(value)
}

fn of_json(value: serde_json::Value) -> Tree {
    match value {
        serde_json::Value::String(text) => Tree::Text(text),
        serde_json::Value::Array(items) => Tree::List(items.into_iter().map(of_json).collect()),
        serde_json::Value::Object(map) => Tree::Map(map.into_iter().map(|(key, value)| (key, of_json(value))).collect()),
        plain => Tree::Plain(plain.to_string()),
    }
}

/// Anything YAML can say, none of it large.
pub fn anything() -> impl Strategy<Value = Tree> + Clone {
    let scalar = prop_oneof![
        4 => one(pools::ODD).prop_map(Tree::Text),
        3 => one(pools::PLAIN).prop_map(Tree::Plain),
        1 => noise().prop_map(Tree::Text),
    ];
    let key = prop_oneof![one(pools::FORBIDDEN), one(pools::KNOWN), one(pools::ODD)];
    scalar.prop_recursive(3, 12, 3, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3).prop_map(Tree::List);
        let map = prop::collection::vec((key.clone(), inner), 0..3).prop_map(Tree::Map);
        prop_oneof![list, map]
    })
}

pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let key = || prop_oneof![3 => one(pools::FORBIDDEN), 1 => one(pools::KNOWN), 1 => one(pools::ODD), 1 => noise()];
    let at = any::<Index>;
    let blind = prop_oneof![
        4 => (at(), key(), anything()).prop_map(|(at, key, tree)| Change::Insert(at, key, tree)),
        2 => (at(), anything()).prop_map(|(at, tree)| Change::Replace(at, tree)),
        3 => (at(), at(), one(pools::ODD)).prop_map(|(at, place, word)| Change::Splice(at, place, word)),
        1 => (at(), at(), key()).prop_map(|(at, entry, key)| Change::Rename(at, entry, key)),
        1 => (at(), at()).prop_map(|(at, entry)| Change::Double(at, entry)),
        1 => (at(), at()).prop_map(|(at, entry)| Change::Remove(at, entry)),
        1 => (at(), at()).prop_map(|(one, other)| Change::Swap(one, other)),
    ];
    let aimed = prop_oneof![4 => of_a_service(), 1 => of_the_stack()];
    let change = prop_oneof![1 => blind, 3 => aimed].boxed();
    // One change more is one more reason to be refused, and what is accepted is what is judged.
    prop_oneof![prop::collection::vec(change.clone(), 1..=2), prop::collection::vec(change, 1..=6)]
}

fn keys(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

fn set(path: &'static str, words: impl Strategy<Value = String> + 'static) -> BoxedStrategy<(bool, Vec<String>, Tree)> {
    words.prop_map(move |word| (false, keys(path), Tree::Text(word))).boxed()
}

fn set_plain(path: &'static str) -> BoxedStrategy<(bool, Vec<String>, Tree)> {
    one(pools::PLAIN).prop_map(move |word| (false, keys(path), Tree::Plain(word))).boxed()
}

fn push(path: &'static str, words: impl Strategy<Value = String> + 'static) -> BoxedStrategy<(bool, Vec<String>, Tree)> {
    words.prop_map(move |word| (true, keys(path), Tree::Text(word))).boxed()
}

/// An entry with a key from one pool and a value from another strategy.
fn entry(
    path: &'static str,
    names: &'static str,
    words: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<(bool, Vec<String>, Tree)> {
    let at = move |name: String| keys(path).into_iter().chain([name]).collect();
    (one(names), words).prop_map(move |(name, word)| (false, at(name), Tree::Text(word))).boxed()
}

/// A field of a service, with a value of the kind that belongs there.
fn of_a_service() -> impl Strategy<Value = Change> {
    let image = || joined(&[pools::REGISTRIES, pools::REPOSITORIES, pools::TAGS]);
    let mount = || joined(&[pools::SOURCES, ":", pools::TARGETS, pools::MODES]);
    let port = || joined(&[pools::ADDRESSES, pools::HOST_PORTS, pools::INSIDE_PORTS]);
    // What is made of several words has to be met more often.
    let fields = Union::new_weighted(vec![
        (2, set("image", image())),
        (4, push("volumes", mount())),
        (2, push("ports", port())),
        (1, set("container_name", one(pools::NAMES))),
        (1, set("hostname", one(pools::NAMES))),
        (1, set("user", one(pools::USERS))),
        (1, set("stop_signal", one(pools::SIGNALS))),
        (1, set("stop_grace_period", one(pools::DURATIONS))),
        (1, set_plain("pids_limit")),
        (1, set_plain("init")),
        (1, push("command", run_of(pools::PIECES))),
        (1, push("entrypoint", run_of(pools::PIECES))),
        (1, push("networks/default/aliases", one(pools::NAMES))),
        (1, set("networks/default/ipv4_address", one(pools::SUBNETS))),
        (1, entry("labels", pools::LABELS, one(pools::LABEL_VALUES))),
        (1, entry("environment", pools::VARIABLES, run_of(pools::PIECES))),
        (1, entry("logging/options", pools::LOG_OPTIONS, one(pools::LOG_VALUES))),
        (1, entry("logging/options", "fluentd-retry-wait", one(pools::WAITS))),
        (1, set("logging/driver", one("fluentd local json-file syslog none"))),
        (1, entry("healthcheck", "interval timeout start_period", one(pools::DURATIONS))),
        (1, set_plain("healthcheck/retries")),
        (1, push("healthcheck/test", run_of(pools::PIECES))),
        (1, set_plain("ulimits/nofile/soft")),
        (1, set_plain("ulimits/nofile/hard")),
        (1, set("depends_on/db/condition", conditions())),
        (1, set("depends_on/vector/condition", conditions())),
        (1, set("depends_on/kong/condition", conditions())),
    ]);
    (one("db db db vector vector vector miner"), fields).prop_map(|(service, (is_push, path, tree))| {
        let path = ["services".to_owned(), service].into_iter().chain(path).collect();
        if is_push { Change::Push(path, tree) } else { Change::Set(path, tree) }
    })
}

fn conditions() -> Select<String> {
    one("service_started service_healthy service_completed_successfully")
}

/// A field of the network, of a volume or of the whole, in the same way.
fn of_the_stack() -> impl Strategy<Value = Change> {
    let fields = prop_oneof![
        set("name", one(pools::LABEL_VALUES)),
        set("networks/default/name", one(pools::NAMES)),
        set("networks/default/driver", one("bridge host macvlan")),
        set("networks/default/ipam/driver", one("default null")),
        entry("networks/default/labels", pools::LABELS, one(pools::LABEL_VALUES)),
        entry("volumes/db-config/labels", pools::LABELS, one(pools::LABEL_VALUES)),
        set("volumes/db-config/name", one(pools::NAMES)),
        entry("volumes/db-config/driver_opts", "type o device size", one(pools::ODD)),
        set("volumes/db-config/driver_opts/device", one(pools::DEVICES)),
        (one(pools::SUBNETS), one("subnet gateway ip_range"), one(pools::SUBNETS)).prop_map(|(subnet, key, other)| {
            let config = vec![("subnet".to_owned(), Tree::Text(subnet)), (key, Tree::Text(other))];
            (false, keys("networks/default/ipam/config"), Tree::List(vec![Tree::Map(config)]))
        }),
        (one("x d_b other DB"), one(pools::NAMES), one(pools::DEVICES)).prop_map(|(key, name, device)| {
            let text = |key: &str, value: &str| (key.to_owned(), Tree::Text(value.to_owned()));
            let options = Tree::Map(vec![text("type", "none"), text("o", "bind"), text("device", &device)]);
            let volume = vec![text("name", &name), text("driver", "local"), ("driver_opts".to_owned(), options)];
            (false, vec!["volumes".to_owned(), key], Tree::Map(volume))
        }),
    ];
    fields.prop_map(|(_, path, tree)| Change::Set(path, tree))
}

pub fn apply(root: &mut Tree, change: &Change) {
    match change {
        Change::Set(path, tree) => {
            *at_keys(root, path) = tree.clone();
        }
        Change::Push(path, tree) => match at_keys(root, path) {
            Tree::List(items) => items.push(tree.clone()),
            other => *other = Tree::List(vec![tree.clone()]),
        },
        Change::Insert(at, key, tree) => {
            if let Tree::Map(entries) = pick(root, at, |node| matches!(node, Tree::Map(_))) {
                entries.push((key.clone(), tree.clone()));
            }
        }
        Change::Replace(at, tree) => *pick(root, at, |_| true) = tree.clone(),
        Change::Splice(at, place, word) => {
            if let Tree::Text(text) = pick(root, at, |node| matches!(node, Tree::Text(_))) {
                let places: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
                text.insert_str(*place.get(&places), word);
            }
        }
        Change::Rename(at, entry, key) => {
            if let Some(entries) = entries_of(pick(root, at, |node| matches!(node, Tree::Map(_)))) {
                entry.get_mut(entries).0.clone_from(key);
            }
        }
        Change::Double(at, entry) => {
            if let Some(entries) = entries_of(pick(root, at, |node| matches!(node, Tree::Map(_)))) {
                entries.push(entry.get(entries).clone());
            }
        }
        Change::Remove(at, entry) => {
            if let Some(entries) = entries_of(pick(root, at, |node| matches!(node, Tree::Map(_)))) {
                entries.remove(entry.index(entries.len()));
            }
        }
        Change::Swap(one, other) => {
            let taken = pick(root, one, |_| true).clone();
            let there = std::mem::replace(pick(root, other, |_| true), taken);
            *pick(root, one, |_| true) = there;
        }
    }
}

/// The entries of a mapping that has any.
fn entries_of(node: &mut Tree) -> Option<&mut Vec<(String, Tree)>> {
    match node {
        Tree::Map(entries) if !entries.is_empty() => Some(entries),
        _ => None,
    }
}

fn at_keys<'a>(root: &'a mut Tree, path: &[String]) -> &'a mut Tree {
    let Some((key, rest)) = path.split_first() else { return root };
    if !matches!(root, Tree::Map(_)) {
        *root = Tree::Map(Vec::new());
    }
    let Tree::Map(entries) = root else { unreachable!("it is a mapping now") };
    let place = entries.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        entries.push((key.clone(), Tree::Plain("~".to_owned())));
        entries.len() - 1
    });
    at_keys(&mut entries[place].1, rest)
}

/// The node that the index means among those that fit; the root when none does.
fn pick<'a>(root: &'a mut Tree, at: &Index, fits: fn(&Tree) -> bool) -> &'a mut Tree {
    let mut places = Vec::new();
    gather(root, &mut Vec::new(), fits, &mut places);
    let place = if places.is_empty() { Vec::new() } else { at.get(&places).clone() };
    place.into_iter().fold(root, |node, child| match node {
        Tree::List(items) => &mut items[child],
        Tree::Map(entries) => &mut entries[child].1,
        leaf => leaf,
    })
}

fn gather(node: &Tree, here: &mut Vec<usize>, fits: fn(&Tree) -> bool, out: &mut Vec<Vec<usize>>) {
    if fits(node) {
        out.push(here.clone());
    }
    let children: Vec<&Tree> = match node {
        Tree::List(items) => items.iter().collect(),
        Tree::Map(entries) => entries.iter().map(|(_, child)| child).collect(),
        Tree::Plain(_) | Tree::Text(_) => Vec::new(),
    };
    for (index, child) in children.into_iter().enumerate() {
        here.push(index);
        gather(child, here, fits, out);
        here.pop();
    }
}

pub fn write(tree: &Tree, form: Form) -> String {
    let mut out = String::new();
    match (tree, form) {
        (Tree::Map(entries), Form::Block) => block(entries, 0, &mut out),
        _ => flow(tree, &mut out),
    }
    out.push('\n');
    out
}

fn block(entries: &[(String, Tree)], depth: usize, out: &mut String) {
    for (key, tree) in entries {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
        quote(key, out);
        out.push_str(": ");
        match tree {
            Tree::Map(inner) if !inner.is_empty() => block(inner, depth + 1, out),
            other => flow(other, out),
        }
    }
}

fn flow(tree: &Tree, out: &mut String) {
    match tree {
        Tree::Plain(text) => out.push_str(text),
        Tree::Text(text) => quote(text, out),
        Tree::List(items) => {
            out.push('[');
            for item in items {
                flow(item, out);
                out.push_str(", ");
            }
            out.push(']');
        }
        Tree::Map(entries) => {
            out.push('{');
            for (key, value) in entries {
                quote(key, out);
                out.push_str(": ");
                flow(value, out);
                out.push_str(", ");
            }
            out.push('}');
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' '..='~' => out.push(letter),
            other => out.push_str(&format!("\\U{:08x}", u32::from(other))),
        }
    }
    out.push('"');
}
