//! Which versions of the frame this build speaks, and how the two ends agree on one.
//!
//! The content type of a push names the version of its frames; a gateway that does not know it answers with the versions
//! that it does, and the collector falls back to the newest that both know. Gateways are upgraded first.

/// The version that this build writes.
pub const VERSION: u8 = 1;

/// The versions that this build reads, oldest first.
pub const SUPPORTED: &[u8] = &[1];

/// The media type of a body of frames, without its version.
pub const MEDIA_TYPE: &str = "application/vnd.fedgate.frames";

/// The content type of a body of frames of `version`.
pub fn content_type(version: u8) -> String {
    format!("{MEDIA_TYPE}; v={version}")
}

/// The version that a `Content-Type` names; `None` where it is another media type or names none.
pub fn version_of(content_type: &str) -> Option<u8> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(MEDIA_TYPE) {
        return None;
    }
    let version = parts.find_map(|part| part.strip_prefix("v=").or_else(|| part.strip_prefix("V=")))?;
    version.trim_matches('"').parse().ok()
}

/// The newest version that this build writes and the other end reads.
pub fn newest_common(theirs: &[u8]) -> Option<u8> {
    SUPPORTED.iter().rev().copied().find(|version| theirs.contains(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_content_type_that_it_writes() {
        assert_eq!(version_of(&content_type(7)), Some(7));
        assert_eq!(version_of("Application/vnd.fedgate.frames;v=\"1\""), Some(1));
        for other in [
            "",
            "text/plain; v=1",
            MEDIA_TYPE,
            "application/vnd.fedgate.frames; v=x",
            "application/vnd.fedgate.frames; v=300",
        ] {
            assert_eq!(version_of(other), None, "{other}");
        }
    }

    #[test]
    fn falls_back_to_the_newest_version_of_both() {
        assert_eq!(newest_common(&[1, 2, 3]), Some(1));
        assert_eq!(newest_common(&[2, 3]), None);
    }
}
