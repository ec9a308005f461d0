//! When groups are evaluated: after the clusters' snapshots of their time where they are told to wait, and not at times that pass
//! while they still evaluate.

use crate::site::http::{Answer, serve};
use crate::site::{Site, wait_for};

/// The value of one of the gateway's own series whose text begins so.
fn own(site: &Site, series: &str) -> Option<f64> {
    let (_, page) = site.get("/metrics/self");
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_group_waits_for_the_clusters_that_are_up_and_for_no_others() {
    let site = Site::new();
    site.issue("alpha");
    let body = b"x 1\n".to_vec();
    let exporter =
        serve(move |_| Answer { status: 200, content_type: "text/plain; version=0.0.4", body: body.clone() });
    let rule = "rules: [{record: 'site:x:sum', expr: sum(x)}]";
    site.write(
        "rules.yml",
        &format!("groups:\n- {{name: waits, interval: 2s, {rule}}}\n- {{name: goes, interval: 2s, {rule}}}\n"),
    );
    let extra = "rule_files: [rules.yml]\nrules: {freshness: {wait: 20s, groups: [waits]}}\n";
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha", "beta"], extra));
    let of = |metric: &str, group: &str| {
        let rules = site.path("rules.yml");
        own(&site, &format!("fedgate_{metric}{{rule_group=\"{};{group}\"}}", rules.display()))
    };
    wait_for("an evaluation without any cluster", || {
        (of("rules_clusters_expected", "waits") == Some(2.0)).then_some(())
    });
    assert_eq!(of("rules_clusters_reporting", "waits"), Some(0.0), "a cluster that never pushed is not waited for");

    let jobs = format!("  - job_name: test\n    static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]\n");
    let collector = site.start_collector(&site.collector_config("alpha", &jobs));
    let reporting = || of("rules_clusters_reporting", "waits");
    wait_for("an evaluation that waited for alpha", || (reporting() == Some(1.0)).then_some(()));
    let iterations = || of("rule_group_iterations_total", "waits").unwrap_or_default();
    let (first, mut evaluated) = (iterations(), 0.0);
    wait_for("three more", || {
        assert_eq!(reporting(), Some(1.0), "each of them waits");
        evaluated = iterations() - first;
        (evaluated >= 3.0).then_some(())
    });
    drop(collector);
    wait_for("alpha to be silent, and evaluations to go on", || (reporting() == Some(0.0)).then_some(()));
}

#[test]
fn times_that_pass_during_an_evaluation_are_missed_and_counted() {
    let site = Site::new();
    let rules: String = (0..100).map(|n| format!("  - {{record: 'r:{n}', expr: 'vector({n})'}}\n")).collect();
    site.write("rules.yml", &format!("groups:\n- name: hurried\n  interval: 1ms\n  rules:\n{rules}"));
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], "rule_files: [rules.yml]\n"));
    let missed = || own(&site, "fedgate_rule_group_iterations_missed_total{");
    wait_for("missed times", || missed().filter(|missed| *missed > 0.0));
    let evaluations = own(&site, "fedgate_rule_evaluations_total{").expect("counted");
    let iterations = own(&site, "fedgate_rule_group_iterations_total{").expect("counted");
    assert!(
        evaluations >= 100.0 && iterations * 100.0 > evaluations,
        "{evaluations} of {iterations}: some were left out"
    );
}
