//! The packs' alerts on their whole way: pages of real exporters that turn bad, collectors, the gateway's rules, a real Alertmanager.
//!
//! The packs are those that the binary holds, as rule files with one change: what they wait for minutes they wait for a second. Four
//! clusters: alpha has trouble, beta is silent, gamma has the same trouble and is in maintenance, and delta's pages are good.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::site::alertmanager::Alertmanager;
use crate::site::http::{self, Answer};
use crate::site::prometheus::has_peer;
use crate::site::{Process, Site, wait_for};

const PACKS: [&str; 5] = ["base", "slurm-native", "node-exporter", "gpu-dcgm", "site"];

/// A page: its path, the family that it is of, its file, and what in it is otherwise while all is well, and while it is not.
struct Page {
    path: &'static str,
    family: &'static str,
    file: &'static str,
    good: &'static [(&'static str, &'static str)],
    bad: &'static [(&'static str, &'static str)],
}

const PAGES: [Page; 4] = [
    Page {
        path: "nodes",
        family: "slurm-native",
        file: "slurm-native-nodes.prom",
        good: &[
            ("\nslurm_nodes_down 1\n", "\nslurm_nodes_down 0\n"),
            ("\nslurm_nodes_unknown 2\n", "\nslurm_nodes_unknown 0\n"),
        ],
        bad: &[("\nslurm_nodes_down 1\n", "\nslurm_nodes_down 23\n")],
    },
    Page {
        path: "scheduler",
        family: "slurm-native",
        file: "slurm-native-scheduler.prom",
        good: &[],
        bad: &[
            ("\nslurm_sched_mean_cycle 48\n", "\nslurm_sched_mean_cycle 75000000\n"),
            ("\nslurm_slurmdbd_queue_size 0\n", "\nslurm_slurmdbd_queue_size 9000\n"),
        ],
    },
    Page {
        path: "node",
        family: "node-exporter",
        file: "node_exporter-1.11.1.prom",
        good: &[],
        bad: &[("\",mountpoint=\"/\"} 6.1715423232e+10\n", "\",mountpoint=\"/\"} 5e+09\n")],
    },
    Page {
        path: "gpu",
        family: "gpu-dcgm",
        file: "dcgm-exporter-8gpu.prom",
        good: &[("\"} 79\n", "\"} 0\n")],
        bad: &[],
    },
];

/// What the pages of all clusters but delta are.
#[derive(Clone, Copy)]
enum Stage {
    Bad = 0,
    /// Slurm's pages are refused.
    Failing = 1,
    Good = 2,
}

impl Page {
    fn text(&self, changes: &[(&str, &str)]) -> Vec<u8> {
        let path = root().join("tests/fixtures/expositions").join(self.file);
        let mut text = fs::read_to_string(path).expect("the page is there");
        for (old, new) in changes {
            assert!(text.contains(old), "{old:?} of {}", self.file);
            text = text.replace(old, new);
        }
        text.into_bytes()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Serves `/<cluster>/<page>`.
fn serve_pages(stage: &Arc<AtomicUsize>) -> u16 {
    let pages = PAGES.map(|page| (page.path, page.family, page.text(page.bad), page.text(page.good)));
    let stage = stage.clone();
    http::serve(move |path| {
        let (cluster, page) = path.trim_start_matches('/').split_once('/').expect("a cluster and a page");
        let (_, family, bad, good) = pages.iter().find(|(own, ..)| *own == page).expect("one of the pages");
        let stage = if cluster == "delta" { Stage::Good as usize } else { stage.load(Ordering::SeqCst) };
        let status = if stage == Stage::Failing as usize && *family == "slurm-native" { 500 } else { 200 };
        let body = if stage == Stage::Bad as usize { bad.clone() } else { good.clone() };
        Answer { status, content_type: "text/plain; version=0.0.4", body }
    })
}

/// The packs of `config/rules`, in a hurry.
fn hurried(site: &Site, pack: &str) -> PathBuf {
    let text = fs::read_to_string(root().join("config/rules").join(format!("{pack}.yml"))).expect("the pack is there");
    let line = |line: &str| match line.trim_start().split_once(": ") {
        Some((key @ ("for" | "interval"), _)) => {
            format!("{}{key}: 1s\n", &line[..line.len() - line.trim_start().len()])
        }
        _ => format!("{line}\n"),
    };
    site.write(&format!("{pack}.yml"), &text.lines().map(line).collect::<String>())
}

struct Scene {
    site: Site,
    alertmanager: Alertmanager,
    stage: Arc<AtomicUsize>,
    port: u16,
}

/// Alerts that an Alertmanager has, by name and cluster; each once.
type Alerts = BTreeMap<(String, String), Value>;

impl Scene {
    fn new() -> Scene {
        let (site, stage) = (Site::new(), Arc::new(AtomicUsize::new(Stage::Bad as usize)));
        let (alertmanager, port) = (Alertmanager::start(&site), serve_pages(&stage));
        Scene { site, alertmanager, stage, port }
    }

    /// The gateway's configuration; gamma is in maintenance, or is not.
    fn configure(&self, is_in_maintenance: bool) -> PathBuf {
        let packs: Vec<String> = PACKS.iter().map(|pack| hurried(&self.site, pack).display().to_string()).collect();
        let extra = format!(
            "rule_files: {packs:?}\nglobal: {{external_labels: {{site: north}}}}\nrules: {{resend_delay: 1s}}\nalerting:\n  \
             alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
            self.alertmanager.port
        );
        let path = self.site.gateway_config(&["alpha", "beta", "gamma", "delta"], &extra);
        if is_in_maintenance {
            let text = fs::read_to_string(&path).expect("it was written");
            let planned = "cluster: gamma\n      maintenance: {until: 2100-01-01T00:00:00Z, reason: new cooling}\n";
            fs::write(&path, text.replace("cluster: gamma\n", planned)).expect("the folder can be written");
        }
        path
    }

    fn start_collector(&self, cluster: &str) -> Process {
        self.site.issue(cluster);
        let job = |page: &Page| {
            format!(
                "  - job_name: {}\n    metrics_path: /{cluster}/{}\n    static_configs: [{{targets: ['127.0.0.1:{}'], labels: \
                 {{fedgate_family: {}}}}}]\n",
                page.path, page.path, self.port, page.family
            )
        };
        let jobs: String = PAGES.iter().map(job).collect();
        self.site.start_collector(&self.site.collector_config(cluster, &jobs))
    }

    fn go_to(&self, stage: Stage) {
        self.stage.store(stage as usize, Ordering::SeqCst);
    }

    /// What fires, with texts that are whole.
    fn alerts(&self) -> Alerts {
        let mut alerts = Alerts::new();
        for alert in self.alertmanager.get("alerts").as_array().into_iter().flatten() {
            let texts = alert["annotations"].to_string();
            let is_whole = !["<no value>", "<error", "{{", "NaN", "%!"].iter().any(|sign| texts.contains(sign));
            assert!(is_whole && texts.contains("summary"), "{alert}");
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            assert_eq!((label("environment"), label("site")), ("test".to_owned(), "north".to_owned()), "{alert}");
            let known = alerts.insert((label("alertname"), label("cluster")), alert.clone());
            assert!(known.is_none(), "{alert} twice");
        }
        alerts
    }

    /// Waits until exactly these fire; the last of them, and what else was there, is told where they do not.
    fn wait_for_alerts(&self, expected: &[(&str, &str)]) -> Alerts {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, cluster)| ((*name).to_owned(), (*cluster).to_owned())).collect();
        let what = format!("{expected:?} and no others");
        wait_for(&what, || {
            let alerts = self.alerts();
            alerts.keys().eq(&expected).then_some(alerts)
        })
    }

    /// The value of a series at the gateway.
    fn value(&self, selector: &str) -> Option<f64> {
        let page = self.site.federate(selector);
        let line = page.lines().find(|line| !line.starts_with('#'))?;
        line.split("} ").nth(1)?.split(' ').next()?.parse().ok()
    }
}

/// Trouble that the bad pages tell of; ordered as [`Alerts`] are.
const BAD: [(&str, &str); 6] = [
    ("AccountingBacklog", "alpha"),
    ("ClusterSilent", "beta"),
    ("NodeFilesystemFull", "alpha"),
    ("NodeGpuUnhealthy", "alpha"),
    ("NodesUnavailable", "alpha"),
    ("SchedulerSlow", "alpha"),
];

/// Name, labels and summary of an alert.
fn told(alerts: &Alerts) -> Vec<[&str; 4]> {
    alerts
        .iter()
        .map(|((name, _), alert)| {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default();
            [
                name.as_str(),
                label("severity"),
                label("node"),
                alert["annotations"]["summary"].as_str().unwrap_or_default(),
            ]
        })
        .collect()
}

#[test]
fn alerts_of_the_packs_reach_an_alertmanager_and_resolve_and_maintenance_is_quiet() {
    if !has_peer("alertmanager", "0.") {
        return;
    }
    let scene = Scene::new();
    let gateway = scene.site.start_gateway(&scene.configure(true));
    let _collectors = ["alpha", "gamma", "delta"].map(|cluster| scene.start_collector(cluster));
    wait_for("gamma's trouble to be seen", || {
        let slow = scene.value("slurm:cluster:scheduler_cycle_mean_seconds{cluster=\"gamma\"}")?;
        (slow > 10.0 && scene.value("hpc:node:gpus_unhealthy{cluster=\"gamma\"}")? > 0.0).then_some(())
    });
    let alerts = scene.wait_for_alerts(&BAD);
    assert_eq!(
        told(&alerts),
        [
            ["AccountingBacklog", "warning", "", "9000 records of alpha wait for slurmdbd"],
            ["ClusterSilent", "critical", "", "No collector of beta pushes"],
            ["NodeFilesystemFull", "warning", "vm", "A file system of vm in alpha is 98.15% full"],
            ["NodeGpuUnhealthy", "warning", "ag001", "1 GPUs of ag001 in alpha are not well"],
            ["NodesUnavailable", "warning", "", "Only 38.3% of the nodes of alpha can take jobs"],
            ["SchedulerSlow", "warning", "", "A scheduling cycle of alpha takes 1m 15s on average"],
        ]
    );
    let description = &alerts[&("ClusterSilent".to_owned(), "beta".to_owned())]["annotations"]["description"];
    assert!(description.as_str().is_some_and(|text| text.contains("nothing of beta (test)")), "{description}");

    // Nothing but the maintenance kept gamma quiet.
    scene.configure(false);
    gateway.signal("HUP");
    wait_for("gamma's alerts", || {
        scene.alerts().contains_key(&("SchedulerSlow".to_owned(), "gamma".to_owned())).then_some(())
    });
    scene.configure(true);
    gateway.signal("HUP");
    scene.wait_for_alerts(&BAD);

    scene.go_to(Stage::Failing);
    let alerts = scene.wait_for_alerts(&[
        ("ClusterSilent", "beta"),
        ("ClusterTargetsDown", "alpha"),
        ("SchedulerUnreachable", "alpha"),
    ]);
    let expected = "Nothing that speaks for the scheduler of alpha answers";
    assert_eq!(told(&alerts)[2], ["SchedulerUnreachable", "critical", "", expected]);
    wait_for("both of Slurm's pages to be down, of five targets with the collector itself", || {
        (told(&scene.alerts())[1][3] == "Only 60% of the targets in alpha answer").then_some(())
    });

    scene.go_to(Stage::Good);
    let _beta = scene.start_collector("beta");
    scene.wait_for_alerts(&[]);
    let heard = scene.value("slurm:cluster:scheduler_up{cluster=\"beta\"}");
    assert_eq!(heard, Some(1.0), "it is quiet because all is well");
}
