//! Rules that record onto scraped series' names, or set a label of the external ones: both series are there, and it is told.

use std::process::Command;

use crate::site::http::{Answer, serve};
use crate::site::{FEDGATE, Site, wait_for};

const RULES: &str = "groups:
  - name: g
    interval: 1s
    rules:
      - record: exporter_value
        expr: vector(7)
        labels: {site: south}
      - record: own:name
        expr: vector(8)
      - alert: exporter_value
        expr: vector(1) > 2
";

/// The value of a rule group's metric on the gateway's own page.
fn group_metric(site: &Site, name: &str) -> Option<String> {
    let (_, page) = site.get("/metrics/self");
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[test]
fn a_shared_name_or_label_is_told_and_counted_and_nothing_is_left_out() {
    let site = Site::new();
    site.issue("alpha");
    let body = b"exporter_value 1\nother_value 2\n".to_vec();
    let exporter =
        serve(move |_| Answer { status: 200, content_type: "text/plain; version=0.0.4", body: body.clone() });
    site.write("rules.yml", RULES);
    let extra = "rule_files: [rules.yml]\nglobal:\n  external_labels: {site: north}\n";
    let config = site.gateway_config(&["alpha"], extra);

    let check = Command::new(FEDGATE).args(["check", "config"]).arg(&config).output().expect("runs");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{said}");
    let expected = "the rule \"exporter_value\" on line 5 has the label \"site\", which global.external_labels has too";
    assert!(said.contains(expected), "{said}");

    let gateway = site.start_gateway(&config);
    wait_for("an evaluation", || (!site.federate("own:name").is_empty()).then_some(()));
    assert_eq!(group_metric(&site, "fedgate_rules_names_shared").as_deref(), Some("0"), "nothing is scraped yet");
    assert_eq!(group_metric(&site, "fedgate_rules_labels_shared").as_deref(), Some("1"));
    assert!(gateway.output().contains("external_labels has too"), "{}", gateway.output());

    let jobs = format!("  - job_name: test\n    static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]\n");
    let _collector = site.start_collector(&site.collector_config("alpha", &jobs));
    let count = || group_metric(&site, "fedgate_rules_names_shared");
    wait_for("the shared name to be counted", || (count().as_deref() == Some("1")).then_some(()));
    let told = |output: &str| output.matches("scraped series have the name that this rule records").count();
    let iterations = || group_metric(&site, "fedgate_rule_group_iterations_total").and_then(|n| n.parse::<u64>().ok());
    let first = iterations();
    wait_for("one more evaluation", || (iterations() > first).then_some(()));
    assert_eq!(told(&gateway.output()), 1, "told once a rule: {}", gateway.output());

    let page = site.federate("exporter_value");
    let has = |label: &str| page.lines().any(|line| line.starts_with("exporter_value{") && line.contains(label));
    assert!(has("cluster=\"alpha\"") && has("site=\"south\""), "{page}");
}
