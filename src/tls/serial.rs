//! A certificate's serial number, one spelling for all: lower-case hexadecimal without leading zeros.
//!
//! Certificates, revocation lists and people write the same number with and without a zero byte in front, with colons or
//! capitals. [`Serial`] keeps the bare magnitude, so that equal numbers are equal.

use std::fmt;
use std::str::FromStr;

/// Octets a serial may have (RFC 5280 §4.1.2.2).
const OCTETS_MAX: usize = 20;

/// Big endian, without leading zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Box<[u8]>);

/// What is no serial.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no serial: expected up to 40 hexadecimal digits, as `fedgate certs list` prints them")]
pub struct SerialError(String);

impl Serial {
    /// From the octets of a DER integer or any other big-endian form.
    pub fn from_octets(octets: &[u8]) -> Serial {
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        Serial(octets[zeros..].into())
    }

    /// 127 random bits below a leading one: positive, 16 octets, never repeated within the life of a CA.
    pub(super) fn random() -> Result<Serial, getrandom::Error> {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets)?;
        octets[0] = octets[0] & 0x7f | 0x40;
        Ok(Serial::from_octets(&octets))
    }

    /// Without leading zeros.
    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("00");
        }
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Serial, SerialError> {
        let refused = || SerialError(text.to_owned());
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let padded = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
        if padded.is_empty() || padded.len() > 2 * OCTETS_MAX || !padded.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let octet = |at: usize| u8::from_str_radix(&padded[at..at + 2], 16).map_err(|_| refused());
        let octets: Vec<u8> = (0..padded.len()).step_by(2).map(octet).collect::<Result<_, _>>()?;
        Ok(Serial::from_octets(&octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_number_is_the_same_serial() {
        let number = Serial::from_octets(&[0, 0x0a, 0xff]);
        assert_eq!(number.to_string(), "0aff");
        for spelling in ["0aff", "aff", "0A:FF", "000aff"] {
            assert_eq!(spelling.parse::<Serial>().as_ref(), Ok(&number), "{spelling}");
        }
    }

    #[test]
    fn zero_is_written_so_that_it_can_be_read() {
        let zero = Serial::from_octets(&[0, 0]);
        assert_eq!((zero.to_string().as_str(), "0".parse()), ("00", Ok(zero)));
    }

    #[test]
    fn what_is_no_serial_is_refused() {
        for text in ["", "xyz", "0x12", &"1".repeat(41), "1é"] {
            assert!(text.parse::<Serial>().is_err(), "{text}");
        }
    }

    #[test]
    fn random_serials_are_positive_and_sixteen_octets() {
        let serial = Serial::random().unwrap();
        assert_eq!(serial.octets().len(), 16);
        assert!(serial.octets()[0] < 0x80);
    }
}
