//! The configured headers of a client, those with secrets among them, marked so that no log shows them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::ClientError;
use crate::config::{Authorization, BasicAuth, HttpClientConfig, HttpHeader};

/// Whether any value comes from a file.
pub(super) fn has_files(config: &HttpClientConfig) -> bool {
    let basic = |auth: &BasicAuth| auth.username_file.is_some() || auth.password_file.is_some();
    config.basic_auth.as_ref().is_some_and(basic)
        || config.authorization.as_ref().is_some_and(|auth| auth.credentials_file.is_some())
        || config.http_headers.values().any(|header| !header.files.is_empty())
}

/// Reads all files and makes the headers.
pub(super) fn headers(config: &HttpClientConfig) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, header) in &config.http_headers {
        add(&mut headers, name, header)?;
    }
    if let Some(auth) = &config.basic_auth {
        headers.insert(AUTHORIZATION, secret(AUTHORIZATION.as_str(), &basic(auth)?)?);
    }
    if let Some(auth) = &config.authorization {
        headers.insert(AUTHORIZATION, secret(AUTHORIZATION.as_str(), &bearer(auth)?)?);
    }
    Ok(headers)
}

fn add(headers: &mut HeaderMap, name: &str, header: &HttpHeader) -> Result<(), ClientError> {
    let bad = || ClientError::BadHeader { name: name.to_owned() };
    let key: HeaderName = name.parse().map_err(|_| bad())?;
    for value in &header.values {
        headers.append(key.clone(), value.parse().map_err(|_| bad())?);
    }
    for value in &header.secrets {
        headers.append(key.clone(), secret(name, value.expose())?);
    }
    for path in &header.files {
        headers.append(key.clone(), secret(name, &content(path)?)?);
    }
    Ok(())
}

fn basic(auth: &BasicAuth) -> Result<String, ClientError> {
    let user = auth.username_file.as_deref().map_or_else(|| Ok(auth.username.clone()), content)?;
    let password = match (&auth.password_file, &auth.password) {
        (Some(path), _) => content(path)?,
        (None, Some(password)) => password.expose().to_owned(),
        (None, None) => String::new(),
    };
    Ok(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn bearer(auth: &Authorization) -> Result<String, ClientError> {
    let credentials = match (&auth.credentials_file, &auth.credentials) {
        (Some(path), _) => content(path)?,
        (None, Some(credentials)) => credentials.expose().to_owned(),
        (None, None) => String::new(),
    };
    Ok(format!("{} {credentials}", auth.kind.trim()))
}

/// Editors end files with a newline, which is no part of the secret.
fn content(path: &Path) -> Result<String, ClientError> {
    let text = fs::read_to_string(path).map_err(|source| ClientError::Secret { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

fn secret(name: &str, value: &str) -> Result<HeaderValue, ClientError> {
    let mut value: HeaderValue = value.parse().map_err(|_| ClientError::BadHeader { name: name.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}
