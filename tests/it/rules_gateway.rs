//! Rules at work in the real program: results on its pages, reloads, alerts to a real Alertmanager.

use std::path::PathBuf;
use std::process::Command;

use crate::site::alertmanager::Alertmanager;
use crate::site::prometheus::has_peer;
use crate::site::{FEDGATE, Process, Site, wait_for};

fn write_rules(site: &Site, rules: &str) -> PathBuf {
    site.write("rules.yml", &format!("groups:\n  - name: g\n    interval: 1s\n    rules:\n{rules}"))
}

fn config(site: &Site, more: &str) -> PathBuf {
    let extra = format!("rule_files: [rules.yml]\nglobal:\n  external_labels: {{site: north}}\n{more}");
    site.gateway_config(&["alpha", "beta"], &extra)
}

fn reload(gateway: &Process) {
    gateway.signal("HUP");
}

/// Lines of `/federate`, without their times.
fn federated(site: &Site, selector: &str) -> Vec<String> {
    let page = site.federate(selector);
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').map_or(line, |(line, _)| line).to_owned()).collect()
}

const COUNTS: &str = "      - record: site:clusters:count
        expr: count(fedgate_cluster_up)
      - record: site:clusters:doubled
        expr: site:clusters:count * 2
        labels: {kind: derived}
      - record: cluster:up
        expr: fedgate_cluster_up{cluster=\"alpha\"}
";

#[test]
fn results_are_served_and_end_with_their_rule() {
    let site = Site::new();
    write_rules(&site, COUNTS);
    let gateway = site.start_gateway(&config(&site, ""));
    wait_for("the second rule to see the first one's result", || {
        let lines = federated(&site, "site:clusters:doubled");
        (lines == ["site:clusters:doubled{kind=\"derived\",instance=\"\",site=\"north\"} 4"]).then_some(())
    });
    wait_for("the third rule's result", || {
        let up = federated(&site, "cluster:up");
        (up == ["cluster:up{cluster=\"alpha\",environment=\"test\",instance=\"\",site=\"north\"} 0"]).then_some(())
    });
    let (_, own) = site.get("/metrics/self");
    for line in ["fedgate_rule_evaluations_total{", "fedgate_rule_group_rules{", "fedgate_rules_clusters_expected{"] {
        assert!(own.lines().any(|own| own.starts_with(line)), "{line}\n{own}");
    }
    let (status, body) = site.get("/api/v1/rules?type=record&rule_name[]=site:clusters:doubled");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let group = &answer["data"]["groups"][0];
    assert_eq!(
        (status, &answer["status"], &group["name"], &group["interval"]),
        (200, &"success".into(), &"g".into(), &1.into())
    );
    assert_eq!(group["rules"].as_array().map(Vec::len), Some(1), "{body}");
    let rule = &group["rules"][0];
    assert_eq!((&rule["health"], &rule["query"]), (&"ok".into(), &"site:clusters:count * 2".into()));
    assert_eq!((&rule["type"], &rule["labels"]["kind"]), (&"recording".into(), &"derived".into()));
    write_rules(&site, "      - record: site:other\n        expr: vector(7)\n");
    reload(&gateway);
    wait_for("the new rule's result", || (!federated(&site, "site:other").is_empty()).then_some(()));
    assert_eq!(federated(&site, "site:clusters:count"), [""; 0], "the old rule's series have ended");
}

#[test]
fn check_config_refuses_the_rules_that_a_start_would_refuse() {
    let site = Site::new();
    let check = |more: &str| {
        let file = config(&site, more);
        let output = Command::new(FEDGATE).args(["check", "config"]).arg(file).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    write_rules(&site, COUNTS);
    let (code, said) = check("rule_packs: [slurm-nativ]\n");
    assert!(code == Some(1) && said.contains("unknown rule pack \"slurm-nativ\""), "{said}");
    assert_eq!(check("rule_packs: [slurm-native]\n").0, Some(0));
    write_rules(&site, "      - record: x\n        expr: sum(\n");
    let (code, said) = check("");
    assert!(code == Some(1) && said.contains("parse error"), "{said}");
}

#[test]
fn a_faulty_file_is_refused_whole_and_the_running_rules_stay() {
    let site = Site::new();
    write_rules(&site, COUNTS);
    let file = config(&site, "");
    let gateway = site.start_gateway(&file);
    wait_for("a result", || (!federated(&site, "site:clusters:count").is_empty()).then_some(()));
    write_rules(&site, "      - record: site:clusters:count\n        expr: sum(\n");
    reload(&gateway);
    wait_for("the reload to fail", || {
        let (_, own) = site.get("/metrics/self");
        let line = own.lines().find(|line| line.starts_with("fedgate_gateway_config_last_reload_successful"))?;
        line.ends_with(" 0").then_some(())
    });
    let evaluations = || {
        let page = site.get("/metrics/self").1;
        let line = page.lines().find(|line| line.starts_with("fedgate_rule_evaluations_total{")).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).expect("the counter")
    };
    let before = evaluations();
    wait_for("the old rules to go on", || (evaluations() > before).then_some(()));
    drop(gateway);
    let start = Command::new(crate::site::program()).args(["gateway", "--config"]).arg(&file).output();
    let start = start.expect("the program runs");
    let said = String::from_utf8_lossy(&start.stderr).into_owned();
    assert!(!start.status.success() && said.contains("rules.yml:6:"), "{said}");
}

const ALERTS: &str = "      - alert: ClustersSilent
        expr: count(fedgate_cluster_up == 0) > LIMIT
        labels: {severity: page}
        annotations:
          summary: '{{ $value }} clusters of {{ $externalLabels.site }} are silent'
      - alert: Quiet
        expr: vector(1)
";

#[test]
fn a_real_alertmanager_receives_groups_and_resolves() {
    if !has_peer("alertmanager", "0.") {
        return;
    }
    let site = Site::new();
    let alertmanager = Alertmanager::start(&site);
    let port = alertmanager.port;
    write_rules(&site, &ALERTS.replace("LIMIT", "1"));
    let alerting = format!(
        "rules:\n  resend_delay: 1s\nalerting:\n  alert_relabel_configs:\n    - {{source_labels: [alertname], regex: Quiet, action: drop}}\n  \
         alertmanagers:\n    - static_configs:\n        - targets: ['127.0.0.1:{port}']\n"
    );
    let gateway = site.start_gateway(&config(&site, &alerting));
    let groups = || alertmanager.get("alerts/groups");
    let group = wait_for("the alert to arrive", || groups().get(0).cloned());
    assert_eq!(group["labels"]["alertname"], "ClustersSilent", "{group}");
    let alert = &group["alerts"][0];
    assert_eq!(alert["labels"]["severity"], "page");
    assert_eq!(alert["labels"]["site"], "north", "external labels go out with alerts");
    assert_eq!(alert["annotations"]["summary"], "2 clusters of north are silent");
    let url = alert["generatorURL"].as_str().unwrap_or_default();
    assert!(url.starts_with("http://127.0.0.1:") && url.contains("/graph?g0.expr=count%28"), "{url}");
    assert_eq!(groups().as_array().map(Vec::len), Some(1), "the other alert is dropped");
    let (_, body) = site.get("/api/v1/alerts");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let shown = answer["data"]["alerts"].as_array().expect("alerts");
    assert!(shown.len() == 2 && shown.iter().all(|alert| alert["state"] == "firing"), "{body}");
    assert!(shown.iter().any(|alert| alert["value"] == "2e+00"), "{body}");

    write_rules(&site, &ALERTS.replace("LIMIT", "5"));
    reload(&gateway);
    wait_for("the alert to resolve", || (groups().as_array().map(Vec::len) == Some(0)).then_some(()));
    let (_, own) = site.get("/metrics/self");
    assert!(own.lines().any(|line| line.starts_with("fedgate_notifications_sent_total{alertmanager=")), "{own}");
}
