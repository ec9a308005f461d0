//! A gateway's answer, as a collector reads it.
//!
//! Promise: a verdict that is read, sent again, is read as the same.
//!
//! Input: which status (one byte), then the body.

use fedgate::push::protocol::Verdict;

const STATUSES: [u16; 12] = [200, 401, 403, 409, 412, 413, 415, 422, 429, 503, 204, 599];

/// Reads the answer.
pub(crate) fn run(input: &[u8]) {
    let Some((status, body)) = input.split_first() else { return };
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    match Verdict::parse(status, None, body) {
        Ok(verdict) => {
            assert_eq!(verdict.status(), status);
            let again = Verdict::parse(status, verdict.retry_after(), verdict.body().as_bytes());
            assert_eq!(again.as_ref(), Ok(&verdict), "{}", verdict.body());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
