//! A file of rules, and what rules are made of.
//!
//! Promises: a refusal names at least one fault, each with words; a file read twice is read the same; a file that is accepted
//! makes groups that run (its templates read, too).

use std::path::Path;
use std::time::Duration;

use fedgate::promql::ParseOptions;
use fedgate::rules::file;
use fedgate::rules::group::{Group, GroupSpec};

/// Reads the input as a file would be read.
pub(crate) fn run(input: &[u8]) {
    let Ok(source) = std::str::from_utf8(input) else { return };
    let read = || file::parse(Path::new("rules.yml"), source, &ParseOptions::default());
    let first = read();
    assert_eq!(format!("{first:?}"), format!("{:?}", read()));
    match first {
        Err(faults) => {
            assert!(!faults.0.is_empty() && faults.0.iter().all(|fault| !fault.to_string().is_empty()));
        }
        Ok((rules, _)) => {
            for group in rules.groups {
                let spec = GroupSpec::new("rules.yml", group, Duration::from_secs(30), Duration::ZERO);
                assert!(Group::new(spec).is_ok(), "a checked group does not run");
            }
        }
    }
}
