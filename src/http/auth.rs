//! Who may read: HTTP basic authentication against bcrypt hashes, or bearer tokens from files.
//!
//! As in exporter-toolkit every path asks, and where nothing is configured nobody is asked. A bcrypt comparison costs
//! tens of milliseconds of CPU on purpose; a Prometheus shows the same password every few seconds, so passwords that
//! were found right are remembered as a keyed hash (the key is random and dies with the process). Wrong ones are not
//! remembered, and a comparison is made for unknown users too, so that the time tells nothing about names.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;

use crate::config::Secret;
use crate::runtime::CpuPool;

/// Passwords that are remembered as right; beyond it the memory starts anew.
const REMEMBERED_MAX: usize = 1024;
/// Bytes of one bearer token.
const TOKEN_BYTES_MAX: usize = 4096;
/// A hash of nothing anybody knows, compared where the user is unknown; cost 10 as `htpasswd -B` makes them.
const NOBODY: &str = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8lKQd1p0cbdJhAqYr9nK0Ql1X3dO7W";

/// Who is let in. Immutable: a reload makes a new one.
#[derive(Debug)]
pub struct Access {
    users: BTreeMap<String, Secret>,
    /// Hashes of the tokens, so that no token stands in memory and lengths do not show in comparisons.
    tokens: Vec<blake3::Hash>,
    key: [u8; 32],
    /// Keyed hashes of user and password pairs that were right.
    remembered: Mutex<HashSet<[u8; 32]>>,
}

/// Why the access rules could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A token file cannot be read.
    #[error("cannot read bearer token file {path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A token file holds no token.
    #[error("bearer token file {path} holds {bytes} bytes, expected 1 to {TOKEN_BYTES_MAX} without blanks")]
    Token {
        /// The file.
        path: PathBuf,
        /// What it holds, blanks at the ends aside.
        bytes: usize,
    },
    /// The system gave no randomness.
    #[error("no random key for the password memory: {0}")]
    Random(String),
}

impl Access {
    /// Reads the rules; `users` maps names to bcrypt hashes.
    pub fn load(users: &BTreeMap<String, Secret>, token_files: &[PathBuf]) -> Result<Access, AccessError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| AccessError::Random(error.to_string()))?;
        let tokens = token_files.iter().map(|path| load_token(path)).collect::<Result<_, _>>()?;
        Ok(Access { users: users.clone(), tokens, key, remembered: Mutex::default() })
    }

    /// Whether nobody is asked.
    fn is_open(&self) -> bool {
        self.users.is_empty() && self.tokens.is_empty()
    }

    fn knows_token(&self, token: &str) -> bool {
        let hash = blake3::hash(token.as_bytes());
        // `blake3::Hash` compares in constant time.
        self.tokens.iter().fold(false, |known, own| known | (*own == hash))
    }

    /// Whether the pair was found right before.
    fn remembers(&self, pair: &[u8; 32]) -> bool {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).contains(pair)
    }

    fn remember(&self, pair: [u8; 32]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(pair);
    }

    fn pair(&self, user: &str, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(user.len() as u64).to_le_bytes()).update(user.as_bytes()).update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Compares with bcrypt: slow.
    fn verify(&self, user: &str, password: &str) -> bool {
        let hash = self.users.get(user).map_or(NOBODY, |hash| hash.expose());
        bcrypt::verify(password, hash).unwrap_or(false) && self.users.contains_key(user)
    }
}

fn load_token(path: &Path) -> Result<blake3::Hash, AccessError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| AccessError::TokenFile { path: path.to_owned(), source })?;
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || token.contains(char::is_whitespace) {
        return Err(AccessError::Token { path: path.to_owned(), bytes: token.len() });
    }
    Ok(blake3::hash(token.as_bytes()))
}

/// What the middleware needs.
#[derive(Clone)]
pub struct Guard {
    /// The rules in force.
    pub access: Arc<ArcSwap<Access>>,
    /// Where passwords are compared.
    pub pool: CpuPool,
}

/// What a request shows of itself.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Token(String),
    Password { user: String, password: String },
}

/// Lets a request through whose `Authorization` is right; 401 otherwise.
pub async fn ask(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let access = guard.access.load_full();
    let let_in = access.is_open()
        || match shown(request.headers()) {
            Shown::Nothing => false,
            Shown::Token(token) => access.knows_token(&token),
            Shown::Password { user, password } => is_right(&guard.pool, &access, user, password).await,
        };
    if let_in { next.run(request).await } else { refuse() }
}

async fn is_right(pool: &CpuPool, access: &Arc<Access>, user: String, password: String) -> bool {
    let pair = access.pair(&user, &password);
    if access.remembers(&pair) {
        return true;
    }
    let judge = access.clone();
    let right = pool.run(&Arc::from("auth"), move || judge.verify(&user, &password)).await.unwrap_or(false);
    if right {
        access.remember(pair);
    }
    right
}

fn refuse() -> Response {
    let mut response = (StatusCode::UNAUTHORIZED, "Unauthorized\n").into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"fedgate\""));
    response
}

fn shown(headers: &HeaderMap) -> Shown {
    let Some((scheme, rest)) =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|text| text.split_once(' '))
    else {
        return Shown::Nothing;
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return Shown::Token(rest.trim().to_owned());
    }
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| decode_pair(rest.trim())).flatten();
    decoded.map_or(Shown::Nothing, |(user, password)| Shown::Password { user, password })
}

fn decode_pair(text: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let pair = String::from_utf8(bytes).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_shows() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            shown(&headers)
        };
        assert_eq!(shown(&HeaderMap::new()), Shown::Nothing);
        assert_eq!(of("Bearer abc"), Shown::Token("abc".into()));
        assert_eq!(of("basic dTpwOnc="), Shown::Password { user: "u".into(), password: "p:w".into() });
        assert_eq!(of("Basic !"), Shown::Nothing);
        assert_eq!(of("Digest x"), Shown::Nothing);
    }

    #[test]
    fn the_hash_of_nobody_is_a_hash() {
        assert_eq!(bcrypt::verify("x", NOBODY).ok(), Some(false), "an unreadable hash would make unknown users quick");
    }

    #[test]
    fn unknown_users_are_refused() {
        let users = BTreeMap::from([("prom".to_owned(), Secret::new(bcrypt::hash("right", 4).unwrap()))]);
        let access = Access::load(&users, &[]).unwrap();
        assert!(access.verify("prom", "right") && !access.verify("prom", "wrong") && !access.verify("x", "right"));
        assert_ne!(access.pair("ab", "c"), access.pair("a", "bc"));
    }
}
