//! What the CA issued and revoked, as a JSON file that people can read.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{CaError, files};
use crate::model::Timestamp;
use crate::tls::Serial;

pub(super) const FILE: &str = "index.json";

/// Whom a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// A collector.
    Collector {
        /// The cluster it speaks for.
        cluster: String,
    },
    /// The gateway.
    Gateway,
}

impl Holder {
    pub(super) fn file_stem(&self) -> String {
        match self {
            Holder::Collector { cluster } => format!("collector-{cluster}"),
            Holder::Gateway => "gateway".to_owned(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Collector { cluster } => write!(f, "collector {cluster}"),
            Holder::Gateway => f.write_str("gateway"),
        }
    }
}

/// One certificate as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Unique within the CA.
    #[serde(with = "serial_text")]
    pub serial: Serial,
    /// Whom it speaks for.
    pub holder: Holder,
    /// Its subject alternative names, the identity first.
    pub names: Vec<String>,
    /// When it ends.
    #[serde(with = "time_text")]
    pub not_after: Timestamp,
    /// When it was revoked, if it was.
    #[serde(with = "revoked_text", default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

/// Whether a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Valid,
    /// It is past its end.
    Expired,
    /// It is on the revocation list.
    Revoked,
}

impl IssuedCertificate {
    /// Whether it counts at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        match self.revoked {
            Some(_) => State::Revoked,
            None if self.not_after < now => State::Expired,
            None => State::Valid,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Valid => "valid",
            State::Expired => "expired",
            State::Revoked => "revoked",
        })
    }
}

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    trust_domain: String,
    #[serde(with = "time_text")]
    ca_not_after: Timestamp,
    /// Of the newest revocation list.
    list_number: u64,
    issued: Vec<IssuedCertificate>,
}

impl Index {
    pub(super) fn new(trust_domain: &str, ca_not_after: Timestamp) -> Index {
        Index { trust_domain: trust_domain.to_owned(), ca_not_after, list_number: 0, issued: Vec::new() }
    }

    pub(super) fn load(dir: &Path) -> Result<Index, CaError> {
        let path = dir.join(FILE);
        let text = files::read(&path)?;
        serde_json::from_str(&text).map_err(|fault| CaError::BadIndex { path, reason: fault.to_string() })
    }

    pub(super) fn store(&self, dir: &Path) -> Result<(), CaError> {
        let text = serde_json::to_string_pretty(self).expect("texts and numbers can always be written");
        files::replace(&dir.join(FILE), &(text + "\n"), files::PUBLIC_MODE)
    }

    pub(super) fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    pub(super) fn ca_not_after(&self) -> Timestamp {
        self.ca_not_after
    }

    pub(super) fn add(&mut self, record: IssuedCertificate) {
        self.issued.push(record);
    }

    pub(super) fn into_issued(self) -> Vec<IssuedCertificate> {
        self.issued
    }

    pub(super) fn revoke(&mut self, serial: &Serial, now: Timestamp) -> Result<IssuedCertificate, CaError> {
        let found = self.issued.iter_mut().find(|one| one.serial == *serial);
        let record = found.ok_or_else(|| CaError::UnknownSerial(serial.clone()))?;
        if let Some(at) = record.revoked {
            return Err(CaError::AlreadyRevoked { serial: serial.clone(), at });
        }
        record.revoked = Some(now);
        Ok(record.clone())
    }

    /// Revoked ones stay on the list after their end: a clock that is wrong must not make one good again.
    pub(super) fn revoked(&self) -> impl Iterator<Item = (&Serial, Timestamp)> {
        self.issued.iter().filter_map(|one| Some((&one.serial, one.revoked?)))
    }

    pub(super) fn next_list_number(&mut self) -> u64 {
        self.list_number += 1;
        self.list_number
    }
}

mod serial_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::tls::Serial;

    pub(super) fn serialize<S: Serializer>(serial: &Serial, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(serial)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Serial, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

mod time_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error};

    use crate::model::Timestamp;

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        jiff::Timestamp::from_second(time.as_millis().div_euclid(1000)).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        jiff::Timestamp::deserialize(deserializer).map(|time| Timestamp(time.as_millisecond()))
    }
}

mod revoked_text {
    use serde::{Deserializer, Serializer};

    use super::time_text;
    use crate::model::Timestamp;

    pub(super) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => time_text::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        time_text::deserialize(deserializer).map(Some)
    }
}
