//! File names in a configuration are relative to the configuration's own directory, as in Prometheus.

use std::path::{Path, PathBuf};

use super::{
    Authorization, BasicAuth, CollectorConfig, GatewayConfig, HttpHeader, HttpSdConfig, ScrapeConfig, TlsClientConfig,
};

/// Resolves every file name of a collector's file against `base`.
pub(super) fn resolve_collector(config: &mut CollectorConfig, base: &Path) {
    tls(&mut config.push.tls_config, base);
    config
        .push
        .urls
        .iter_mut()
        .filter_map(|further| further.tls_config.as_mut())
        .for_each(|further| tls(further, base));
    each(&mut config.spool.dir, base);
    config.scrape_configs.iter_mut().for_each(|job| resolve_job(job, base));
}

/// Resolves every file name of a gateway's file against `base`.
pub(super) fn resolve_gateway(config: &mut GatewayConfig, base: &Path) {
    let push = &mut config.push.tls_config;
    each(
        [&mut push.cert_file, &mut push.key_file, &mut push.client_ca_file].into_iter().chain(&mut push.crl_file),
        base,
    );
    each(&mut config.http.bearer_token_files, base);
    each(&mut config.rule_files, base);
    each(&mut config.journal.dir, base);
    for alertmanager in &mut config.alerting.alertmanagers {
        tls(&mut alertmanager.tls_config, base);
        credentials(&mut alertmanager.basic_auth, &mut alertmanager.authorization, base);
    }
    if let Some(http) = &mut config.http.tls_server_config {
        each([&mut http.cert_file, &mut http.key_file].into_iter().chain(&mut http.client_ca_file), base);
    }
}

fn resolve_job(job: &mut ScrapeConfig, base: &Path) {
    tls(&mut job.tls_config, base);
    credentials(&mut job.basic_auth, &mut job.authorization, base);
    headers(job.http_headers.values_mut(), base);
    job.file_sd_configs.iter_mut().for_each(|discovery| each(&mut discovery.files, base));
    job.http_sd_configs.iter_mut().for_each(|discovery| resolve_http_sd(discovery, base));
}

fn resolve_http_sd(discovery: &mut HttpSdConfig, base: &Path) {
    tls(&mut discovery.tls_config, base);
    credentials(&mut discovery.basic_auth, &mut discovery.authorization, base);
    headers(discovery.http_headers.values_mut(), base);
}

fn tls(tls: &mut TlsClientConfig, base: &Path) {
    each([&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file].into_iter().flatten(), base);
}

fn credentials(basic: &mut Option<BasicAuth>, authorization: &mut Option<Authorization>, base: &Path) {
    if let Some(basic) = basic {
        each([&mut basic.username_file, &mut basic.password_file].into_iter().flatten(), base);
    }
    if let Some(authorization) = authorization {
        each(&mut authorization.credentials_file, base);
    }
}

fn headers<'h>(headers: impl Iterator<Item = &'h mut HttpHeader>, base: &Path) {
    headers.for_each(|header| each(&mut header.files, base));
}

fn each<'p>(paths: impl IntoIterator<Item = &'p mut PathBuf>, base: &Path) {
    // Joining an absolute path replaces the base; an empty one is a key that was not written.
    paths.into_iter().filter(|path| !path.as_os_str().is_empty()).for_each(|path| *path = base.join(&path));
}
