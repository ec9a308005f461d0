//! What is there before anything was pushed, and what becomes of it when a cluster falls silent or is revoked.

use std::process::Command;
use std::time::Duration;

use super::site::pages::Pages;
use super::site::{FEDGATE, Site, fedgate, wait_for};

/// The value of the one `/metrics` line that starts with `series`.
fn metric(site: &Site, series: &str) -> Option<String> {
    let page = site.get("/metrics").1;
    page.lines()
        .find(|line| line.starts_with(series))
        .map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned())
}

const UP_ALPHA: &str = "fedgate_cluster_up{cluster=\"alpha\"";

#[test]
fn a_cluster_that_never_pushed_is_a_zero_from_the_first_second() {
    let site = Site::new();
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha", "beta"], ""));
    assert_eq!(metric(&site, UP_ALPHA).as_deref(), Some("0"));
    let federated = site.federate("{__name__=\"fedgate_cluster_up\"}");
    assert!(federated.contains("cluster=\"beta\""), "{federated}");
    assert_eq!(site.get("/-/ready").0, 503, "both clusters are awaited");
    wait_for("readiness after twice expect_every", || (site.get("/-/ready").0 == 200).then_some(()));
}

#[test]
fn a_killed_collector_is_a_zero_within_two_intervals_and_comes_back() {
    let pages = Pages::serve(&[("node", &["node_exporter-1.11.1.prom"])]);
    let site = Site::new();
    site.issue("alpha");
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let config = site.collector_config("alpha", &pages.scrape_configs(""));
    let collector = site.start_collector(&config);
    wait_for("the cluster to be up", || (metric(&site, UP_ALPHA)? == "1").then_some(()));
    collector.kill();
    wait_for("the silence to be seen", || (metric(&site, UP_ALPHA)? == "0").then_some(()));
    let _collector = site.start_collector(&config);
    wait_for("the cluster to be back", || (metric(&site, UP_ALPHA)? == "1").then_some(()));
    wait_for("its series to be back", || (!site.federate("{job=\"node\"}").is_empty()).then_some(()));
}

#[test]
fn a_restarted_gateway_has_everything_again_without_an_operator() {
    let pages = Pages::serve(&[("node", &["node_exporter-1.11.1.prom"])]);
    let site = Site::new();
    site.issue("alpha");
    let config = site.gateway_config(&["alpha"], "");
    let gateway = site.start_gateway(&config);
    let _collector = site.start_collector(&site.collector_config("alpha", &pages.scrape_configs("")));
    let series = |site: &Site| site.federate("{job=\"node\"}").lines().filter(|line| !line.starts_with('#')).count();
    let before = wait_for("the first series", || Some(series(&site)).filter(|count| *count > 500));
    gateway.kill();
    let _gateway = site.start_gateway(&config);
    wait_for("the same series again", || (series(&site) == before).then_some(()));
}

#[test]
fn a_revoked_collectors_open_connection_is_refused_without_a_restart() {
    let pages = Pages::serve(&[("node", &["node_exporter-1.11.1.prom"])]);
    let site = Site::new();
    site.issue("alpha");
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let _collector = site.start_collector(&site.collector_config("alpha", &pages.scrape_configs("")));
    wait_for("the cluster to be up", || (metric(&site, UP_ALPHA)? == "1").then_some(()));
    let list = fedgate(&["certs", "list", &site.ca()]);
    let line = list.lines().find(|line| line.contains("collector/alpha")).expect("the certificate is listed");
    let serial = line.split_whitespace().next().expect("a serial");
    fedgate(&["certs", "revoke", &site.ca(), serial]);
    let revoked_at = std::time::Instant::now();
    wait_for("the refusal", || (metric(&site, UP_ALPHA)? == "0").then_some(()));
    // 10 s until the CRL is seen, and two intervals of a second of silence.
    assert!(revoked_at.elapsed() < Duration::from_secs(13), "{:?}", revoked_at.elapsed());
}

#[test]
fn both_roles_end_cleanly_on_sigterm() {
    let site = Site::new();
    site.issue("alpha");
    let mut gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let mut collector = site.start_collector(&site.collector_config("alpha", "  []\n"));
    wait_for("the cluster to be up", || (metric(&site, UP_ALPHA)? == "1").then_some(()));
    assert_eq!(collector.terminate(Duration::from_secs(15)), Some(0));
    assert_eq!(gateway.terminate(Duration::from_secs(15)), Some(0));
}

#[test]
fn check_push_goes_the_collectors_way_and_says_what_is_wrong() {
    let site = Site::new();
    site.issue("alpha");
    site.issue("stranger");
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let check = |cluster: &str| {
        let config = site.collector_config(cluster, "  []\n");
        let output = Command::new(FEDGATE).args(["check", "push", "--config"]).arg(config).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = check("alpha");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("cluster=\"alpha\""), "{said}");
    let (code, said) = check("stranger");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("stranger"), "the identity that the inventory lacks is named: {said}");
}

#[test]
fn sighup_takes_a_new_inventory_and_keeps_the_old_one_on_a_fault() {
    let site = Site::new();
    let config = site.gateway_config(&["alpha"], "");
    let gateway = site.start_gateway(&config);
    let is_there = |cluster: &str| metric(&site, &format!("fedgate_cluster_up{{cluster=\"{cluster}\"")).is_some();
    assert!(is_there("alpha") && !is_there("beta"));

    site.gateway_config(&["alpha", "beta"], "");
    gateway.signal("HUP");
    wait_for("the new cluster", || is_there("beta").then_some(()));

    site.gateway_config(&["gamma"], "    - cluster: gamma\n      identities: [twice]\n      nonsense: 1\n");
    gateway.signal("HUP");
    let successful = "fedgate_gateway_config_last_reload_successful";
    wait_for("the fault to be counted", || (metric(&site, successful)? == "0").then_some(()));
    assert!(is_there("beta") && !is_there("gamma"), "the old inventory stays");
    let said = gateway.output();
    assert!(said.contains("nonsense") && said.contains("gamma"), "both faults are named: {said}");
}
