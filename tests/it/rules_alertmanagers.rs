//! The way to Alertmanagers: over TLS with a certificate and a password, and past one that is dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::site::alertmanager::Alertmanager;
use crate::site::http::{Answer, serve};
use crate::site::prometheus::has_peer;
use crate::site::{Site, free_port, wait_for};

const RULES: &str = "groups: [{name: g, interval: 1s, rules: [{alert: Always, expr: vector(1)}]}]\n";

/// A real Alertmanager that asks for a client's certificate and a password, and tells `hook` of alerts.
fn start_alertmanager(site: &Site, hook: u16) -> Alertmanager {
    let ca = site.ca();
    let receiver = format!("webhook_configs: [{{url: 'http://127.0.0.1:{hook}/hook'}}]");
    let route = "{receiver: hook, group_wait: 0s, group_interval: 1s}";
    let file = site.write("alertmanager.yml", &format!("route: {route}\nreceivers: [{{name: hook, {receiver}}}]\n"));
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let web = site.write(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: {ca}/gateway.pem\n  key_file: {ca}/gateway.key\n  client_auth_type: \
             RequireAndVerifyClientCert\n  client_ca_file: {ca}/ca.pem\nbasic_auth_users: {{fedgate: '{hash}'}}\n"
        ),
    );
    Alertmanager::start_with(site, &file, &[format!("--web.config.file={}", web.display())])
}

/// A counter of one Alertmanager.
fn count(site: &Site, metric: &str, port: u16) -> f64 {
    let (_, page) = site.get("/metrics/self");
    let address = format!(":{port}");
    let line = page.lines().find(|line| line.starts_with(&format!("{metric}{{")) && line.contains(&address));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

#[test]
fn tls_certificates_and_passwords_are_used_and_a_dead_one_harms_nobody() {
    if !has_peer("alertmanager", "0.") {
        return;
    }
    let site = Site::new();
    site.issue("alpha");
    site.write("rules.yml", RULES);
    let hooked = Arc::new(AtomicUsize::new(0));
    let told = hooked.clone();
    let hook = serve(move |_| {
        told.fetch_add(1, Ordering::SeqCst);
        Answer { status: 200, content_type: "text/plain", body: Vec::new() }
    });
    let alertmanager = start_alertmanager(&site, hook);
    let (port, dead, ca) = (alertmanager.port, free_port(), site.ca());
    let section = |port: u16, tls: &str, password: &str| {
        format!(
            "    - scheme: https\n      tls_config: {{ca_file: {ca}/ca.pem{tls}}}\n      basic_auth: {{username: fedgate, \
             password: {password}}}\n      static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        )
    };
    let certificate = format!(", cert_file: {ca}/collector-alpha.pem, key_file: {ca}/collector-alpha.key");
    let configure = |sections: &[String]| {
        let alerting = format!("alerting:\n  alertmanagers:\n{}", sections.concat());
        site.gateway_config(&["alpha"], &format!("rule_files: [rules.yml]\nrules: {{resend_delay: 1s}}\n{alerting}"))
    };
    let errors = |port: u16| count(&site, "fedgate_notifications_errors_total", port);

    // Neither a certificate nor, then, the right password.
    let gateway = site.start_gateway(&configure(&[section(port, "", "secret")]));
    wait_for("a refusal without a certificate", || (errors(port) > 0.0).then_some(()));
    drop(gateway);
    let gateway = site.start_gateway(&configure(&[section(port, &certificate, "wrong")]));
    wait_for("a refusal with a wrong password", || (errors(port) > 0.0).then_some(()));
    assert_eq!(hooked.load(Ordering::SeqCst), 0, "nothing has arrived");
    drop(gateway);

    let _gateway =
        site.start_gateway(&configure(&[section(dead, &certificate, "secret"), section(port, &certificate, "secret")]));
    wait_for("the alert to arrive", || (hooked.load(Ordering::SeqCst) > 0).then_some(()));
    wait_for("the dead one's errors", || (errors(dead) > 0.0).then_some(()));
    assert_eq!(errors(port), 0.0);
    assert!(count(&site, "fedgate_notifications_sent_total", port) > 0.0);
}
