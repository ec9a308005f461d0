//! `fedgate demo` as a newcomer runs it: a whole site comes up, says where to look, and ends without a trace.

use std::process::Command;
use std::time::Duration;

use crate::site::{FEDGATE, Process, free_port, http, wait_for};

#[test]
fn the_demo_brings_up_a_site_and_cleans_up_after_itself() {
    let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), free_port());
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["demo", "--clusters", "2", "--nodes", "2", "--interval", "1s", "--listen", &listen];
    let mut demo = Process::start("demo", Command::new(FEDGATE).args(arguments).env("TMPDIR", folder.path()));
    wait_for("the site to be up", || demo.output().contains("Ctrl-C ends the site.").then_some(()));
    let said = demo.output();
    assert!(said.contains("2 of 2 clusters"), "{said}");
    assert!(said.contains(&format!("- targets: [\"{listen}\"]")), "a job to paste: {said}");
    let (status, page) = http::get(port, "/federate?match[]=up&match[]=fedgate_cluster_up");
    assert_eq!(status, 200);
    for series in
        ["fedgate_cluster_up{cluster=\"alpha\"", "cluster=\"beta\",environment=\"demo\"", "job=\"slurm-nodes\""]
    {
        assert!(page.contains(series), "{series} is not in\n{page}");
    }
    assert_eq!(http::get(port, "/-/ready").0, 200);
    assert_eq!(demo.terminate(Duration::from_secs(15)), Some(0));
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder is there").collect();
    assert!(left.is_empty(), "certificates are removed: {left:?}");
}

#[test]
fn a_taken_address_is_said_clearly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound").to_string();
    let output = Command::new(FEDGATE).args(["demo", "--listen", &listen]).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&listen) && said.contains("in use"), "{said}");
}
