//! Gzip, unpacked in place.
//!
//! A body is unpacked straight into its [`Body`], without a buffer between: what is there already is the window, and is
//! copied once a piece at most. Several members in a row are one body, as in Go; anything else behind a member is a fault.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};

use super::body::Body;

/// A window of 32 KiB, the largest that gzip knows.
const WINDOW_BITS: u8 = 15;

/// Unpacks one body, piece by piece.
pub(super) struct Gunzip {
    member: Decompress,
    /// Nothing of the present member is missing.
    is_ended: bool,
}

impl Gunzip {
    pub(super) fn new() -> Gunzip {
        Gunzip { member: Decompress::new_gzip(WINDOW_BITS), is_ended: false }
    }

    /// Unpacks a piece to the end of `body`, which may become `limit` bytes long.
    pub(super) fn write(&mut self, mut piece: &[u8], body: &mut Body, limit: usize) -> io::Result<()> {
        while !piece.is_empty() {
            if self.is_ended {
                *self = Gunzip::new();
            }
            let (read, written) = self.step(piece, body, limit)?;
            piece = &piece[read..];
            if read == 0 && written == 0 && !self.is_ended {
                return Err(io::Error::other("gzip stream that does not go on"));
            }
        }
        self.drain(body, limit)
    }

    /// What the decoder still holds back of the pieces so far for want of room.
    fn drain(&mut self, body: &mut Body, limit: usize) -> io::Result<()> {
        while !self.is_ended && self.step(&[], body, limit)?.1 > 0 {}
        Ok(())
    }

    /// Gives how much was read and written.
    fn step(&mut self, piece: &[u8], body: &mut Body, limit: usize) -> io::Result<(usize, usize)> {
        let before = (self.member.total_in(), self.member.total_out());
        // The word for "this is all" keeps the decoder from copying the window where it is all, and does no harm elsewhere.
        let status = self.member.decompress(piece, body.room(limit), FlushDecompress::Finish);
        let read = (self.member.total_in() - before.0) as usize;
        let written = (self.member.total_out() - before.1) as usize;
        self.is_ended = matches!(status.map_err(|fault| self.fault(&fault))?, Status::StreamEnd);
        body.take(written, limit)?;
        Ok((read, written))
    }

    fn fault(&self, fault: &flate2::DecompressError) -> io::Error {
        let detail = fault.message().unwrap_or("damaged");
        match self.member.total_out() {
            0 => io::Error::other(format!("said to be gzip, but it is not: {detail}")),
            _ => io::Error::other(format!("damaged gzip: {detail}")),
        }
    }

    /// A body that breaks off inside a member is no page.
    pub(super) fn finish(&self) -> io::Result<()> {
        if self.is_ended { Ok(()) } else { Err(io::Error::other("gzip that breaks off")) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// A page of words that come again and again, some of them further back than a window is long.
    fn content() -> Vec<u8> {
        (0..9000_u32)
            .flat_map(|line| format!("node_{}{{cpu=\"{}\"}} {line}\n", line % 7, line / 3).into_bytes())
            .collect()
    }

    fn unpacked(bytes: &[u8], piece: usize, limit: usize, body: &mut Body) -> io::Result<()> {
        body.clear();
        let mut gunzip = Gunzip::new();
        bytes.chunks(piece).try_for_each(|piece| gunzip.write(piece, body, limit))?;
        gunzip.finish()
    }

    #[test]
    fn pieces_of_any_size_and_members_in_a_row_make_the_body() {
        let content = content();
        let bytes = [packed(&content), packed(b""), packed(b"up 1\n")].concat();
        let whole = [&content[..], b"up 1\n"].concat();
        let mut body = Body::default();
        for piece in [bytes.len(), 1, 7, 1000, 8192] {
            unpacked(&bytes, piece, whole.len(), &mut body).unwrap();
            assert!(*body == *whole, "pieces of {piece}");
            assert!(unpacked(&bytes, piece, whole.len() - 1, &mut body).unwrap_err().get_ref().is_some());
            assert_eq!(body.len(), whole.len() - 1, "nothing beyond the limit is kept");
        }
    }

    #[test]
    fn what_is_no_whole_gzip_is_refused_in_words_that_say_so() {
        let bytes = packed(&content());
        let fault = |bytes: &[u8]| {
            let fault = unpacked(bytes, 4096, usize::MAX, &mut Body::default()).unwrap_err();
            fault.to_string()
        };
        assert!(fault(b"up 1\n").starts_with("said to be gzip, but it is not"), "{}", fault(b"up 1\n"));
        for cut in [0, 5, 100, bytes.len() - 8, bytes.len() - 1] {
            assert_eq!(fault(&bytes[..cut]), "gzip that breaks off", "{cut} bytes");
        }
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(fault(&flipped).starts_with("damaged gzip"), "{}", fault(&flipped));
        assert!(fault(&[&bytes[..], b"garbage"].concat()).contains("gzip"));
    }
}
