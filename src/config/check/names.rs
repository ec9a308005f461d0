//! Names, addresses and numbers: the scalars that have rules of their own.

use std::fmt::{Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use url::Url;

use crate::config::LabelMap;
use crate::config::report::At;
use crate::model::{METRIC_NAME, format_duration, is_legacy_label_name};

/// Why an address to listen on could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad address {0:?}, expected HOST:PORT with an IP address, or :PORT for every address")]
pub struct ListenError(String);

/// Reads an address to listen on: `127.0.0.1:9490`, `[::1]:9490`, `localhost:9490`, or `:9491` for every address (`[::]`,
/// which takes IPv4 connections too).
pub fn parse_listen(text: &str) -> Result<SocketAddr, ListenError> {
    let error = || ListenError(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
    let port = port.parse().map_err(|_| error())?;
    let address = match host {
        "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => IpAddr::V6(v6.parse().map_err(|_| error())?),
            None => IpAddr::V4(host.parse().map_err(|_| error())?),
        },
    };
    Ok(SocketAddr::new(address, port))
}

/// An address to listen on; `None` after a fault.
pub(super) fn check_listen(text: &str, at: &At<'_>) -> Option<SocketAddr> {
    parse_listen(text).inspect_err(|error| at.fault(error.to_string())).ok()
}

/// A URL with a host and one of these schemes; `None` after a fault. The text is not shown: it may hold a password.
pub(super) fn check_url(text: &str, schemes: &[&str], at: &At<'_>) -> Option<Url> {
    let expected = || format!("expected one like {}://HOST:PORT", schemes[0]);
    match Url::parse(text) {
        Err(error) => at.fault(format!("bad URL: {error}, {}", expected())),
        Ok(url) if !schemes.contains(&url.scheme()) => {
            at.fault(format!("found a URL with scheme {:?}, expected {}", url.scheme(), schemes.join(" or ")));
        }
        Ok(url) if url.host_str().unwrap_or_default().is_empty() => at.fault(format!("no host, {}", expected())),
        Ok(url) => return Some(url),
    }
    None
}

/// Labels that are stamped on series: legal, of no inner use, with values.
pub(super) fn check_labels(labels: &LabelMap, at: &At<'_>) {
    for (name, value) in labels {
        let at = at.key(name);
        if !is_legacy_label_name(name) {
            at.fault(format!("{name:?} is no label name, expected letters, digits and _, no digit first"));
        } else if name == METRIC_NAME || name.starts_with("__") {
            at.fault(format!("label names that begin with __ are for inner use, found {name:?}"));
        }
        at.require(!value.is_empty(), "a label needs a value");
    }
}

/// A duration within its bounds.
pub(super) fn check_duration(value: Duration, min: Duration, max: Duration, at: &At<'_>) {
    if value < min || value > max {
        let [value, min, max] = [value, min, max].map(format_duration);
        at.fault(format!("found {value}, expected {min} to {max}"));
    }
}

/// A number within its bounds.
pub(super) fn check_range<N: PartialOrd + Display + Debug>(value: N, min: N, max: N, at: &At<'_>) {
    if value < min || value > max {
        at.fault(format!("found {value}, expected {min} to {max}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_addresses() {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 9491));
        assert_eq!(parse_listen(":9491"), Ok(every));
        assert_eq!(parse_listen("localhost:1"), Ok(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert_eq!(parse_listen("[::1]:1"), Ok(SocketAddr::from((Ipv6Addr::LOCALHOST, 1))));
        for text in ["", "9491", "host:1", "127.0.0.1", "127.0.0.1:", "::1:1", "127.0.0.1:70000"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }
}
