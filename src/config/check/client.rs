//! Checks of Prometheus's `http_config` keys.

use http::HeaderName;

use super::disk::{check_private, check_readable};
use super::names::check_url;
use crate::config::report::At;
use crate::config::{Authorization, BasicAuth, HttpClientConfig, TlsClientConfig};

/// Headers that a request sets itself.
const RESERVED_HEADERS: [&str; 12] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authorization",
    "transfer-encoding",
    "user-agent",
    "x-prometheus-scrape-timeout-seconds",
];

/// The keys of one client; `at` is the section that holds them inline.
pub(super) fn check_client(client: &HttpClientConfig, at: &At<'_>) {
    if client.basic_auth.is_some() && client.authorization.is_some() {
        at.key("authorization").fault("at most one of basic_auth and authorization, found both");
    }
    if let Some(basic) = &client.basic_auth {
        check_basic_auth(basic, &at.key("basic_auth"));
    }
    if let Some(authorization) = &client.authorization {
        check_authorization(authorization, &at.key("authorization"));
    }
    check_tls(&client.tls_config, &at.key("tls_config"));
    check_proxy(client, at);
    check_headers(client, &at.key("http_headers"));
}

fn check_basic_auth(basic: &BasicAuth, at: &At<'_>) {
    let both = |first: bool, second: bool, key: &str| {
        at.key(&format!("{key}_file")).require(!(first && second), format!("at most one of {key} and {key}_file"));
    };
    both(!basic.username.is_empty(), basic.username_file.is_some(), "username");
    both(basic.password.is_some(), basic.password_file.is_some(), "password");
    if let Some(file) = &basic.username_file {
        check_readable(file, &at.key("username_file"));
    }
    if let Some(file) = &basic.password_file {
        check_private(file, &at.key("password_file"));
    }
}

fn check_authorization(authorization: &Authorization, at: &At<'_>) {
    let kind = authorization.kind.trim();
    if kind.is_empty() || kind.eq_ignore_ascii_case("basic") {
        at.key("type").fault("expected a type like Bearer; for Basic there is basic_auth");
    }
    if authorization.credentials.is_some() && authorization.credentials_file.is_some() {
        at.key("credentials_file").fault("at most one of credentials and credentials_file");
    }
    if let Some(file) = &authorization.credentials_file {
        check_private(file, &at.key("credentials_file"));
    }
}

/// Certificate and key come as a pair, and the files are there.
pub(super) fn check_tls(tls: &TlsClientConfig, at: &At<'_>) {
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => at.key("key_file").fault("cert_file needs its key_file"),
        (None, Some(_)) => at.key("cert_file").fault("key_file needs its cert_file"),
        _ => {}
    }
    for (file, key) in [(&tls.ca_file, "ca_file"), (&tls.cert_file, "cert_file")] {
        if let Some(file) = file {
            check_readable(file, &at.key(key));
        }
    }
    if let Some(file) = &tls.key_file {
        check_private(file, &at.key("key_file"));
    }
    if tls.insecure_skip_verify {
        at.key("insecure_skip_verify").warn("any certificate is trusted; ca_file names whom to trust instead");
    }
}

fn check_proxy(client: &HttpClientConfig, at: &At<'_>) {
    if let Some(proxy) = &client.proxy_url {
        check_url(proxy, &["http", "https", "socks5"], &at.key("proxy_url"));
    }
    if client.proxy_url.is_none() && !client.no_proxy.is_empty() {
        at.key("no_proxy").fault("no_proxy needs a proxy_url");
    }
}

fn check_headers(client: &HttpClientConfig, at: &At<'_>) {
    for (name, header) in &client.http_headers {
        let at = at.key(name);
        match name.parse::<HeaderName>() {
            Err(_) => at.fault(format!("{name:?} is no header name")),
            Ok(name) if RESERVED_HEADERS.contains(&name.as_str()) => {
                at.fault(format!("the header {name} is set by fedgate itself"));
            }
            Ok(_) => {}
        }
        for (nth, file) in header.files.iter().enumerate() {
            check_private(file, &at.key("files").index(nth));
        }
    }
}
