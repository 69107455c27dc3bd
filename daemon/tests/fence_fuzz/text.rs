//! Changes to the text of a stack, and texts that are meant to cost more to read than to write.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::pools::{self, one};

/// What means something to YAML wherever it stands; a space in the pool separates.
const MARKS: &str =
    "␣ \t \r \u{0} \u{1} \u{b} \u{c} \u{7f} \u{85} \u{a0} \u{2028} \u{2029} \u{feff} \u{fffe} \u{202e} # ␣#␣ % @ ` ' \"
    \\ & * ! | > ?␣ -␣ :␣ : , [ ] { } ~ = << <<:␣*x &x␣ *x !!str␣ !include␣ !!python/object/apply:os.system␣ !!binary␣
    !<tag:yaml.org,2002:map>␣ $ ${ é \u{1f418} \\0 \\x0a \\u2028";
/// Which of these end a line depends on whom one asks: YAML 1.2 knows two of them.
const BREAKS: [&str; 6] = ["\n", "\r", "\r\n", "\u{85}", "\u{2028}", "\u{2029}"];

/// The longest value that is read.
const VALUE_BYTES_MAX: usize = 32 << 10;

/// One change of a text; an index counts its characters, or its lines.
#[derive(Debug, Clone)]
pub enum Edit {
    Insert(Index, String),
    Cut(Index, Index),
    Copy(Index, Index, Index),
    Truncate(Index),
    DoubleLine(Index),
    /// Ends a line with a comment, a break and a key: who takes the break for one reads the key.
    Smuggle(Index, &'static str, String),
    /// Puts a mark in front of a value.
    Decorate(Index, &'static str),
    Breaks(&'static str),
    Append(&'static str),
}

pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let mark =
        || prop_oneof![3 => one(MARKS), 1 => select(vec!["\n", "\n\n", "\n  ", "\n---\n", "\n...\n"]).prop_map(str::to_owned)];
    let decorations = vec!["&x ", "*x #", "!!str ", "!include ", "!!python/name:os.system ", "? ", "- ", "| ", ">- ", "!<x> "];
    let tails = vec![
        "---\n",
        "...\n",
        "---\na: 1\n",
        "x-a: &a {b: 1}\n",
        "\"<<\": {a: b}\n",
        "include: [x]\n",
        "\u{feff}",
        "%YAML 1.1\n",
    ];
    let edit = prop_oneof![
        6 => (at(), mark()).prop_map(|(at, mark)| Edit::Insert(at, mark)),
        1 => (at(), at()).prop_map(|(from, to)| Edit::Cut(from, to)),
        1 => (at(), at(), at()).prop_map(|(from, to, at)| Edit::Copy(from, to, at)),
        1 => at().prop_map(Edit::Truncate),
        2 => at().prop_map(Edit::DoubleLine),
        3 => (at(), select(BREAKS.to_vec()), one(pools::FORBIDDEN)).prop_map(|(line, end, key)| Edit::Smuggle(line, end, key)),
        2 => (at(), select(decorations)).prop_map(|(line, mark)| Edit::Decorate(line, mark)),
        1 => select(BREAKS.to_vec()).prop_map(Edit::Breaks),
        1 => select(tails).prop_map(Edit::Append),
    ];
    prop::collection::vec(edit, 1..=4)
}

pub fn apply(text: &str, edit: &Edit) -> String {
    let (one, two) = match edit {
        Edit::Cut(one, two) | Edit::Copy(one, two, _) => (place(text, one), place(text, two)),
        _ => (0, 0),
    };
    let (from, to) = (one.min(two), one.max(two));
    match edit {
        Edit::Insert(at, mark) => insert(text, place(text, at), mark),
        Edit::Cut(..) => format!("{}{}", &text[..from], &text[to..]),
        Edit::Copy(_, _, at) => insert(text, place(text, at), &text[from..to]),
        Edit::Truncate(at) => text[..place(text, at)].to_owned(),
        Edit::DoubleLine(at) => on_line(text, at, |line| format!("{line}\n{line}")),
        Edit::Smuggle(at, end, key) => on_line(text, at, |line| {
            let indent = line.len() - line.trim_start().len();
            format!("{line} # x{end}{}{key}: true", " ".repeat(indent))
        }),
        Edit::Decorate(at, mark) => on_line(text, at, |line| line.replacen(": ", &format!(": {mark}"), 1)),
        Edit::Breaks(end) => text.replace('\n', end),
        Edit::Append(tail) => format!("{text}{tail}"),
    }
}

fn place(text: &str, at: &Index) -> usize {
    let places: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
    *at.get(&places)
}

fn insert(text: &str, at: usize, word: &str) -> String {
    format!("{}{word}{}", &text[..at], &text[at..])
}

fn on_line(text: &str, at: &Index, change: impl Fn(&str) -> String) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let line = at.get_mut(&mut lines);
    *line = change(line);
    lines.join("\n")
}

/// A text that grows when it is read, or that a careless reader goes through again and again.
#[derive(Debug, Clone)]
pub enum Costly {
    /// Anchors of anchors: `width` to the power of `depth` values.
    Bomb { depth: usize, width: usize, merged: bool },
    /// One inside the other.
    Nested { open: &'static str, close: &'static str, depth: usize },
    /// Mappings one below the other, each further to the right.
    Stairs(usize),
    /// One text again and again, at the top, as a value or as values of variables.
    Flood { unit: String, times: usize, place: Place },
}

#[derive(Debug, Clone, Copy)]
pub enum Place {
    Alone,
    Name,
    Comment,
    Variables(usize),
    Labels,
}

pub fn costly() -> impl Strategy<Value = Costly> {
    let bomb = (1_usize..40, 1_usize..40, any::<bool>()).prop_map(|(depth, width, merged)| Costly::Bomb { depth, width, merged });
    let open = select(vec![
        ("[", "]"),
        ("{a: ", "}"),
        ("- ", ""),
        ("? ", ""),
        ("[{a: [", "]}]"),
        ("[? ", "]"),
        ("!a [", "]"),
        ("&a [", "]"),
    ]);
    let nested = (open, 1_usize..100_000).prop_map(|((open, close), depth)| Costly::Nested { open, close, depth });
    let stairs = (1_usize..1_200).prop_map(Costly::Stairs);
    let units = [
        "${A}",
        "${DB_PASSWORD}",
        "$$",
        "$",
        "a: ",
        "- a\n",
        "a\n",
        "a\n\n",
        " ",
        "\t",
        "\"",
        "'",
        "\\",
        "\"\\\n",
        "#\n",
        "...\n",
    ];
    let more = [
        "[],", "{},", "a,", "é", "\u{200b}", "%", "&a ", "*a ", "? a\n", "'\n ", ": ", ", ", "|\n ", "\r", "a b ", "[a\n ,",
        "{a\n",
    ];
    let unit = prop_oneof![3 => select([&units[..], &more[..]].concat()).prop_map(str::to_owned), 1 => one(MARKS)];
    let place = prop_oneof![Just(Place::Alone), Just(Place::Name), Just(Place::Comment), Just(Place::Labels),];
    let flood = (unit, 1_usize..40_000, place).prop_map(|(unit, times, place)| Costly::Flood { unit, times, place });
    let values = (select(vec!["${A}", "${DB_PASSWORD}", "$$", "${", "\u{200b}", "x"]), 1_usize..10_000, 1_usize..40);
    let values =
        values.prop_map(|(unit, times, lines)| Costly::Flood { unit: unit.into(), times, place: Place::Variables(lines) });
    prop_oneof![2 => bomb, 2 => nested, 1 => stairs, 4 => flood, 2 => values]
}

pub fn written(costly: &Costly) -> String {
    match costly {
        Costly::Bomb { depth, width, merged } => bomb(*depth, *width, *merged),
        Costly::Nested { open, close, depth } => format!("{}x-a: {}{}\n", crate::GOOD, open.repeat(*depth), close.repeat(*depth)),
        Costly::Stairs(steps) => (0..*steps).map(|step| format!("{}a:\n", " ".repeat(step))).collect(),
        Costly::Flood { unit, times, place } => flood(&unit.repeat(*times), *place),
    }
}

fn bomb(depth: usize, width: usize, merged: bool) -> String {
    let mut text = String::from("x-0: &a0 {k: v}\n");
    for level in 1..=depth {
        let uses = vec![format!("*a{}", level - 1); width].join(", ");
        let value = if merged { format!("{{<<: [{uses}]}}") } else { format!("[{uses}]") };
        text.push_str(&format!("x-{level}: &a{level} {value}\n"));
    }
    text + crate::GOOD
}

fn flood(flood: &str, place: Place) -> String {
    let in_place_of = |from: &str, to: String| crate::GOOD.replacen(from, &to, 1);
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
    match place {
        Place::Alone => flood.to_owned(),
        Place::Name => in_place_of("name: abcdefghijklmnopqrst", format!("name: {flood}")),
        Place::Comment => in_place_of("    init: true\n", format!("    init: true # {flood}\n")),
        Place::Variables(lines) => {
            // Longer ones are refused for their length, each by itself.
            let flood = &flood[..flood.floor_char_boundary(VALUE_BYTES_MAX)];
            let variables = (0..lines).map(|line| format!("      V{line}: {}\n", quoted(flood)));
            in_place_of("      PGPORT: 5432\n", variables.collect())
        }
        Place::Labels => {
            let labels = (0..flood.len().min(300)).map(|label| format!("      l{label}: x\n"));
            in_place_of("      io.supamanager.service: db\n", labels.collect())
        }
    }
}
