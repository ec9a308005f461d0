//! The real Alertmanager, asked what it was told.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::http;
use super::{Process, Site, free_port, wait_for};

/// A running Alertmanager.
pub(crate) struct Alertmanager {
    pub(crate) port: u16,
    _process: Process,
}

impl Alertmanager {
    /// Starts one that notifies nobody, and waits until it is ready.
    pub(crate) fn start(site: &Site) -> Alertmanager {
        let config = "route: {receiver: none, group_by: [alertname]}\nreceivers: [{name: none}]\n";
        let file = site.write("alertmanager.yml", config);
        let own = Alertmanager::start_with(site, &file, &[]);
        wait_for("Alertmanager to be ready", || (http::get(own.port, "/-/ready").0 == 200).then_some(()));
        own
    }

    /// Starts one with a configuration and further arguments.
    pub(crate) fn start_with(site: &Site, config: &Path, arguments: &[String]) -> Alertmanager {
        let port = free_port();
        let mut command = Command::new("alertmanager");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.path={}", site.path("alertmanager").display())).args(arguments);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
        Alertmanager { port, _process: Process::start("alertmanager", &mut command) }
    }

    /// What stands at a path of its API, version 2; nothing while it does not answer.
    pub(crate) fn get(&self, path: &str) -> Value {
        serde_json::from_str(&http::get(self.port, &format!("/api/v2/{path}")).1).unwrap_or_default()
    }
}
