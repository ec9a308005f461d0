//! The scalars of a configuration: durations, sizes, secrets.
//!
//! They are read from text, never from YAML's numbers: `30` is no duration and `1.10` is a label value with a trailing
//! zero. A [`Secret`] shows itself to [`Secret::expose`] only, so no log line, fault or page can carry it by accident.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

use crate::model;

/// Labels as a user writes them: name to value.
pub type LabelMap = BTreeMap<String, String>;

/// A string that is written down for machines only; `Debug` and `Display` print `<secret>`.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps what must not be printed.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself, for the header or handshake that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A URL as written. It may carry `user:password@`, so `Debug` and `Display` print `<secret>` in that place; `Deref` gives
/// the whole text.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct UrlText(String);

impl UrlText {
    /// The text with `<secret>` for what stands before the host.
    pub fn redacted(&self) -> String {
        redact_urls(&self.0)
    }
}

impl std::ops::Deref for UrlText {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<String> for UrlText {
    fn from(text: String) -> UrlText {
        UrlText(text)
    }
}

impl From<&str> for UrlText {
    fn from(text: &str) -> UrlText {
        UrlText(text.to_owned())
    }
}

impl fmt::Debug for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.redacted(), f)
    }
}

impl fmt::Display for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// Puts `<secret>` for the user information of every URL in a text.
pub(super) fn redact_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
        rest = match after[..authority].rfind('@') {
            Some(user_end) => {
                out.push_str("<secret>");
                &after[user_end..]
            }
            None => after,
        };
    }
    out.push_str(rest);
    out
}

/// Bytes; written as `64MB`, `512KiB` or plain `4096`. As in Prometheus all units are powers of 1024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// So many mebibytes.
    pub const fn mib(count: u64) -> ByteSize {
        ByteSize(count << 20)
    }

    /// The bytes, or `None` for `0`, which means "no limit" where a limit is optional.
    pub fn limit(self) -> Option<u64> {
        (self.0 != 0).then_some(self.0)
    }
}

/// Unit and the power of two it stands for.
const SIZE_UNITS: [(&str, u32); 7] = [("", 0), ("B", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let bad =
            || format!("bad size {text:?}, expected a whole number of bytes or one with KB, MB, GB, TB, like 64MB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let unit = text[digits..].trim_end_matches("iB");
        let unit = if unit.len() > 1 { unit.trim_end_matches('B') } else { unit };
        let (_, shift) = SIZE_UNITS.iter().find(|(own, _)| *own == unit).ok_or_else(bad)?;
        number.checked_mul(1 << shift).map(ByteSize).ok_or_else(|| format!("size {text:?} is over 16 EiB"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |shift: &u32| self.0 != 0 && self.0.is_multiple_of(1 << shift);
        match SIZE_UNITS[2..].iter().rev().find(|(_, shift)| fits(shift)) {
            Some((unit, shift)) => write!(f, "{}{unit}B", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A share of a whole, from 0 to 1; kept in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

impl Ratio {
    /// So many thousandths.
    pub const fn per_mille(count: u32) -> Ratio {
        Ratio(count * 1000)
    }

    /// As a number.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ratio, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let is_share = (0.0..=1.0).contains(&number);
        let share = is_share.then(|| Ratio((number * 1e6).round() as u32));
        share.ok_or_else(|| D::Error::custom(format!("found {number}, expected 0 to 1")))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_f64().fmt(f)
    }
}

/// `#[serde(with)]` for a duration as Prometheus writes it.
pub(super) mod duration {
    use super::*;

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        model::parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_whatever_the_unit_is_called() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("17B", 17), ("10MB", 10 << 20), ("10MiB", 10 << 20), ("2G", 2 << 30)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MB", "1.5MB", "-1", "10 MB", "10XB", "99999999999999PB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in ["17B", "10MB", "3GB", "0B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_url_prints_without_its_password() {
        let url = UrlText::from("http://user:can@ry@proxy:3128/a@b");
        assert_eq!(format!("{url} {url:?}"), r#"http://<secret>@proxy:3128/a@b "http://<secret>@proxy:3128/a@b""#);
        assert_eq!(UrlText::from("http://proxy").to_string(), "http://proxy");
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)).matches("canary").count(), 0);
        assert_eq!(secret.expose(), "canary");
    }
}
