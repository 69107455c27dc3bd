//! What a project may use: CPU, memory and storage, as people write them and as numbers; and how one sum is split
//! over services where no common limit can hold it.
//!
//! Units: `kB`, `MB`, `GB` and `TB` are powers of 1000, as disks and clouds are sold; `KiB`, `MiB`, `GiB` and `TiB` are
//! powers of 1024. A number alone is refused, because nobody could tell what it counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The word for "no limit".
pub const NONE: &str = "none";

/// Why a text is no amount. The sentence names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{given}`: {expected}")]
pub struct QuantityError {
    /// The field, for example `resources.memory`.
    pub field: &'static str,
    /// What was given, cut to 64 characters.
    pub given: String,
    /// What it should be.
    pub expected: &'static str,
}

/// Thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cpu(u64);

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(u64);

impl Cpu {
    /// A hundredth of a core, the least that the kernel's scheduler is asked for, to 1024 cores.
    const BOUNDS: std::ops::RangeInclusive<u64> = 10..=1_024_000;
    const EXPECTED: &'static str = "write cores from 0.01 to 1024, for example 1.0, 0.5 or 500m, or none";

    /// So many thousandths of a core.
    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Thousandths of a core.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Cores.
    pub fn cores(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// `1.0`, `0.25` or `500m`; at most three decimals.
    ///
    /// # Errors
    /// [`QuantityError`] naming `field`.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, QuantityError> {
        let millis = match text.strip_suffix('m') {
            Some(millis) => whole(millis),
            None => decimal(text, 1000),
        };
        let known = millis.filter(|millis| Self::BOUNDS.contains(millis));
        known.map(Self).ok_or_else(|| error(field, text, Self::EXPECTED))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cores, rest) = (self.0 / 1000, self.0 % 1000);
        let decimals = format!("{rest:03}");
        let decimals = decimals.trim_end_matches('0');
        write!(f, "{cores}.{}", if decimals.is_empty() { "0" } else { decimals })
    }
}

/// Longest name first, so that `MiB` is not read as something that ends in `B`.
const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl Bytes {
    /// The engine refuses less than 6 MiB for one container; more than a PiB is a slip of the hand.
    const BOUNDS: std::ops::RangeInclusive<u64> = (8 << 20)..=(1 << 50);
    const EXPECTED: &'static str =
        "write 8MiB to 1024TiB with a unit, for example 2GB (a power of 1000), 2GiB (a power of 1024) or 512MB, or none";

    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// `2GB`, `512MB`, `2GiB`, `1.5GiB`; a space before the unit is fine.
    ///
    /// # Errors
    /// [`QuantityError`] naming `field`.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, QuantityError> {
        let amount = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), *unit)));
        let bytes = amount.and_then(|(number, unit)| decimal(number, unit));
        bytes.filter(|bytes| Self::BOUNDS.contains(bytes)).map(Self).ok_or_else(|| error(field, text, Self::EXPECTED))
    }
}

/// The shortest text that means exactly this number, which is what was given in all but odd cases.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().filter(|(name, unit)| *name != "KB" && self.0.is_multiple_of(*unit));
        let shortest = whole.map(|(name, unit)| format!("{}{name}", self.0 / unit)).min_by_key(String::len);
        f.write_str(&shortest.unwrap_or_default())
    }
}

macro_rules! as_text {
    ($($kind:ident),+) => {$(
        impl TryFrom<String> for $kind {
            type Error = QuantityError;
            fn try_from(text: String) -> Result<Self, QuantityError> {
                Self::parse("the amount", &text)
            }
        }

        impl From<$kind> for String {
            fn from(amount: $kind) -> Self {
                amount.to_string()
            }
        }
    )+};
}
as_text!(Cpu, Bytes);

/// What a project may use; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU time, over all services.
    pub cpu: Option<Cpu>,
    /// Memory, over all services.
    pub memory: Option<Bytes>,
    /// What its folder may hold: database, uploads, logs of its own.
    pub storage: Option<Bytes>,
}

impl Resources {
    /// These, with what was given laid over them: an amount, or `none` for no limit.
    ///
    /// # Errors
    /// [`QuantityError`] naming the field.
    pub fn overlaid(self, cpu: Option<&str>, memory: Option<&str>, storage: Option<&str>) -> Result<Self, QuantityError> {
        Ok(Self {
            cpu: overlay(self.cpu, cpu, |text| Cpu::parse("resources.cpu", text))?,
            memory: overlay(self.memory, memory, |text| Bytes::parse("resources.memory", text))?,
            storage: overlay(self.storage, storage, |text| Bytes::parse("resources.storage", text))?,
        })
    }

    /// CPU and memory: what a container or a group of them is held to.
    pub fn limits(&self) -> Limits {
        Limits { cpu: self.cpu, memory: self.memory }
    }
}

fn overlay<T>(
    before: Option<T>,
    given: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, QuantityError>,
) -> Result<Option<T>, QuantityError> {
    match given.map(str::trim) {
        None => Ok(before),
        Some(NONE) => Ok(None),
        Some(text) => parse(text).map(Some),
    }
}

/// CPU and memory of one container or of a group; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Memory, swap included: what does not fit is killed, not swapped.
    pub memory: Option<Bytes>,
}

impl Limits {
    /// Whether there is nothing to hold to.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A service's part of its project's sum, and the least it works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Share {
    /// Of what is left once everybody has the least, it gets this part of the sum of all weights.
    pub weight: u32,
    /// The least CPU.
    pub cpu_min: Cpu,
    /// The least memory.
    pub memory_min: Bytes,
}

impl Default for Share {
    fn default() -> Self {
        Self { weight: 1, cpu_min: Cpu(10), memory_min: Bytes(16 << 20) }
    }
}

/// Splits a total: everybody gets the minimum, and of the rest the part of its weight. Nobody's part shrinks when the
/// total grows, so that a live resize up never takes from anybody; for that, what does not divide (less than one unit
/// each) is given to nobody. `None` when the minimums alone are more than the total.
pub fn split(total: u64, parts: &[(u32, u64)]) -> Option<Vec<u64>> {
    let least = parts.iter().try_fold(0_u64, |sum, (_, minimum)| sum.checked_add(*minimum))?;
    let rest = u128::from(total.checked_sub(least)?);
    let weights: u128 = parts.iter().map(|(weight, _)| u128::from(*weight)).sum();
    let extra = |weight: u32| (rest * u128::from(weight)).checked_div(weights).and_then(|part| u64::try_from(part).ok());
    Some(parts.iter().map(|(weight, minimum)| minimum + extra(*weight).unwrap_or_default()).collect())
}

fn whole(digits: &str) -> Option<u64> {
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// A decimal number of units, exactly: a part of the smallest unit is refused.
fn decimal(text: &str, unit: u64) -> Option<u64> {
    let (cores, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if decimals.is_empty() || decimals.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    let fraction = u128::from(whole(decimals)?) * u128::from(unit);
    if !fraction.is_multiple_of(scale) {
        return None;
    }
    u64::try_from(u128::from(whole(cores)?) * u128::from(unit) + fraction / scale).ok()
}

fn error(field: &'static str, given: &str, expected: &'static str) -> QuantityError {
    QuantityError { field, given: given.chars().take(64).collect(), expected }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Option<u64> {
        Bytes::parse("resources.memory", text).ok().map(Bytes::get)
    }

    fn cpu(text: &str) -> Option<u64> {
        Cpu::parse("resources.cpu", text).ok().map(Cpu::as_millis)
    }

    #[test]
    fn the_designs_own_words_are_read() {
        assert_eq!((cpu("1.0"), bytes("2GB"), bytes("10GB")), (Some(1000), Some(2_000_000_000), Some(10_000_000_000)));
        assert_eq!((bytes("512MB"), bytes("2GiB"), bytes("1.5 GiB")), (Some(512_000_000), Some(2 << 30), Some(3 << 29)));
        assert_eq!((cpu("500m"), cpu("0.25"), cpu("2")), (Some(500), Some(250), Some(2000)));
    }

    #[test]
    fn what_is_no_amount_names_its_field_and_the_form() {
        for bad in ["", "2", "2G", "2gb", "-1GB", "1e3MB", "1.GB", ".5GB", "GB", "1MB", "2000TiB", "0.0000000001GB", "٢GB"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        for bad in ["", "0", "m", "-1", "1.0001", "1,5", "9m", "1025", "1e1", "1.", "+1", "1.0 m"] {
            assert_eq!(cpu(bad), None, "{bad}");
        }
        let said = Resources::default().overlaid(None, Some("2G"), None).expect_err("refused").to_string();
        assert!(said.contains("resources.memory is `2G`") && said.contains("2GiB (a power of 1024)"), "{said}");
    }

    #[test]
    fn what_is_left_out_stays_and_none_lifts() {
        let before = Resources { cpu: Some(Cpu(1000)), memory: Some(Bytes(1 << 30)), storage: None };
        let after = before.overlaid(None, Some("none"), Some("10GB")).expect("amounts");
        assert_eq!(after, Resources { cpu: Some(Cpu(1000)), memory: None, storage: Some(Bytes(10_000_000_000)) });
    }

    #[test]
    fn minimums_that_do_not_fit_are_refused_and_a_weight_of_nothing_gets_the_minimum() {
        assert_eq!(split(99, &[(1, 50), (1, 50)]), None);
        assert_eq!(split(100, &[(1, 50), (1, 50)]), Some(vec![50, 50]));
        assert_eq!(split(100, &[(0, 10), (0, 20)]), Some(vec![10, 20]));
        assert_eq!(split(100, &[(3, 10), (1, 10), (0, 10)]), Some(vec![62, 27, 10]));
        assert_eq!(split(u64::MAX, &[(u32::MAX, u64::MAX), (1, 1)]), None);
        assert_eq!(split(5, &[]), Some(Vec::new()));
    }

    fn parts() -> impl Strategy<Value = Vec<(u32, u64)>> {
        prop::collection::vec((0_u32..1000, 0_u64..1 << 32), 0..12)
    }

    proptest! {
        #[test]
        fn a_split_stays_within_the_total_and_above_the_minimums(parts in parts(), more in 0_u64..1 << 40) {
            let least: u64 = parts.iter().map(|(_, minimum)| minimum).sum();
            let got = split(least + more, &parts).expect("it fits");
            prop_assert!(got.iter().zip(&parts).all(|(got, (_, minimum))| got >= minimum));
            let sum: u64 = got.iter().sum();
            prop_assert!(sum <= least + more);
            if parts.iter().any(|(weight, _)| *weight > 0) {
                prop_assert!(least + more - sum < parts.len() as u64, "less than one unit each is given to nobody");
            }
            prop_assert_eq!(split(least.wrapping_sub(1), &parts).is_none(), least > 0);
        }

        #[test]
        fn nobody_gets_less_of_more(parts in parts(), more in 0_u64..1 << 40, again in 0_u64..1 << 40) {
            let least: u64 = parts.iter().map(|(_, minimum)| minimum).sum();
            let (before, after) = (split(least + more, &parts), split(least + more + again, &parts));
            let (before, after) = (before.expect("it fits"), after.expect("it fits"));
            prop_assert!(before.iter().zip(&after).all(|(before, after)| before <= after));
        }

        #[test]
        fn a_heavier_service_gets_more_of_what_is_left(weight in 1_u32..1000, heavier in 1_u32..1000, rest in 0_u64..1 << 40) {
            let got = split(rest, &[(weight, 0), (weight + heavier, 0)]).expect("it fits");
            prop_assert!(got[0] <= got[1]);
        }

        #[test]
        fn what_is_printed_is_read_back(bytes in (8_u64 << 20)..=(1 << 50), millis in 10_u64..=1_024_000) {
            prop_assert_eq!(Bytes::parse("x", &Bytes(bytes).to_string()), Ok(Bytes(bytes)));
            prop_assert_eq!(Cpu::parse("x", &Cpu(millis).to_string()), Ok(Cpu(millis)));
        }
    }

    #[test]
    fn amounts_are_printed_as_they_are_written() {
        for text in ["2GB", "2GiB", "512MB", "512MiB", "10GB", "1TiB"] {
            assert_eq!(Bytes::parse("x", text).expect("an amount").to_string(), text);
        }
        for text in ["1.0", "0.5", "0.25", "12.0", "0.015"] {
            assert_eq!(Cpu::parse("x", text).expect("an amount").to_string(), text);
        }
    }
}
