//! The names that go into certificates, and which may.
//!
//! A collector's identity is `spiffe://TRUST-DOMAIN/collector/CLUSTER`. Its parts follow the SPIFFE ID's own rules, and
//! so a cluster's name can stand in a path, a file name and a YAML value without escaping.

use std::net::IpAddr;

use rcgen::SanType;

use super::{CaError, Holder};

const PART_MAX: usize = 128;

pub(super) fn check_trust_domain(name: &str) -> Result<(), CaError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
    let expected = "lower-case letters, digits, dots, dashes and underscores, like hpc.example";
    check("trust domain", name, fits, expected)
}

fn check_cluster(name: &str) -> Result<(), CaError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    check("cluster", name, fits, "letters, digits, dots, dashes and underscores, like alpha")
}

fn check(what: &'static str, name: &str, fits: fn(char) -> bool, expected: &'static str) -> Result<(), CaError> {
    let dots = name.chars().all(|c| c == '.');
    if dots || name.len() > PART_MAX || !name.chars().all(fits) {
        return Err(CaError::BadName { what, found: name.to_owned(), expected });
    }
    Ok(())
}

/// A certificate's names: the identity, if the holder has one, then the hosts.
pub(super) fn of(holder: &Holder, trust_domain: &str, hosts: &[String]) -> Result<Vec<SanType>, CaError> {
    let mut names = Vec::new();
    if let Holder::Collector { cluster } = holder {
        check_cluster(cluster)?;
        names.push(SanType::URI(format!("spiffe://{trust_domain}/collector/{cluster}").try_into()?));
    }
    for host in hosts {
        names.push(host_name(host)?);
    }
    Ok(names)
}

fn host_name(host: &str) -> Result<SanType, CaError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_*".contains(c);
    check("host", host, fits, "a DNS name or an IP address, without a port")?;
    Ok(SanType::DnsName(host.to_owned().try_into()?))
}

/// As `list` and the inventory write them.
pub(super) fn shown(names: &[SanType]) -> Vec<String> {
    let shown = |name: &SanType| match name {
        SanType::URI(uri) => uri.to_string(),
        SanType::DnsName(dns) => dns.to_string(),
        SanType::IpAddress(address) => address.to_string(),
        other => unreachable!("a name of kind {other:?} is never issued"),
    };
    names.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_place_are_refused() {
        for cluster in ["", ".", "..", "a/b", "a b", "ä", "a:b", &"x".repeat(129)] {
            assert!(check_cluster(cluster).is_err(), "{cluster:?}");
        }
        for domain in ["", "HPC.example", "hpc/example", "hpc.example:1"] {
            assert!(check_trust_domain(domain).is_err(), "{domain:?}");
        }
        for host in ["", "gateway:9491", "https://gateway", "a b"] {
            assert!(host_name(host).is_err(), "{host:?}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_names() {
        let hosts = ["10.0.0.1", "::1", "gateway.hpc.example"].map(str::to_owned);
        let names = of(&Holder::Gateway, "hpc.example", &hosts).unwrap();
        assert!(matches!(names[..], [SanType::IpAddress(_), SanType::IpAddress(_), SanType::DnsName(_)]));
        assert_eq!(shown(&names), hosts);
    }
}
