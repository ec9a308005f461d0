//! A configuration file, read as a gateway's and as a collector's.
//!
//! Promises: a refusal names at least one fault; a file read twice is read the same, whatever it says; a fault's text
//! can be shown.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use fedgate::config::{Environment, Faults, load_collector_with, load_gateway_with, role_of};

use super::tls_files::folder;

/// Loads the input in each role.
pub(crate) fn run(input: &[u8]) {
    folder(|folder| {
        let file = folder.join("config.yml");
        fs::write(&file, input).expect("the temporary folder can be written");
        let _ = role_of(&file);
        let environment = || Environment::from_pairs([]);
        check(&file, |file| load_gateway_with(file, environment()));
        check(&file, |file| load_collector_with(file, environment()));
    });
}

fn check<T: Debug>(file: &Path, load: impl Fn(&Path) -> Result<T, Faults>) {
    let loaded = load(file);
    if let Err(faults) = &loaded {
        assert!(!faults.0.is_empty() && !faults.to_string().is_empty(), "refused without a fault");
    }
    assert_eq!(format!("{loaded:?}"), format!("{:?}", load(file)));
}
