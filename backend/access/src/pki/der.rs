//! The few lines of DER that rcgen has no words for: a certificate whose subject has several organizations.
//!
//! A certificate is `SEQUENCE { tbs, algorithm, BIT STRING signature }` and its subject the sixth element of `tbs`
//! (`[0] version, serial, algorithm, issuer, validity, subject, …`), so the subject is exchanged and the whole signed
//! again with the same key and algorithm.

use rcgen::SigningKey;

use super::{Error, Result};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const BIT_STRING: u8 = 0x03;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | significant.len() as u8);
        out.extend(significant);
    }
    out.extend_from_slice(content);
    out
}

/// Splits the first element off: (tag, whole element, content, rest).
fn split(input: &[u8]) -> Option<(u8, &[u8], &[u8], &[u8])> {
    let (&tag, &first) = (input.first()?, input.get(1)?);
    let (header, length) = if first < 0x80 {
        (2, usize::from(first))
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let bytes = input.get(2..2 + count)?;
        (2 + count, bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    };
    let end = header.checked_add(length)?;
    Some((tag, input.get(..end)?, input.get(header..end)?, input.get(end..)?))
}

/// The subject of a user: its groups as organizations, its name as the common name.
pub(super) fn subject(name: &str, organizations: &[&str]) -> Vec<u8> {
    let attribute = |oid: &[u8], value: &str| {
        let pair = [element(OID, oid), element(UTF8_STRING, value.as_bytes())].concat();
        element(SET, &element(SEQUENCE, &pair))
    };
    let mut names: Vec<u8> = organizations.iter().flat_map(|o| attribute(ORGANIZATION, o)).collect();
    names.extend(attribute(COMMON_NAME, name));
    element(SEQUENCE, &names)
}

/// The certificate with another subject, signed again.
pub(super) fn with_subject(certificate: &[u8], subject: &[u8], key: &impl SigningKey) -> Result<Vec<u8>> {
    let rebuilt = || -> Option<(Vec<u8>, &[u8])> {
        let (_, _, content, _) = split(certificate)?;
        let (_, _, mut tbs, rest) = split(content)?;
        let (_, algorithm, _, _) = split(rest)?;
        let mut out = Vec::new();
        for position in 0.. {
            if tbs.is_empty() {
                break;
            }
            let (_, whole, _, rest) = split(tbs)?;
            out.extend_from_slice(if position == 5 { subject } else { whole });
            tbs = rest;
        }
        Some((element(SEQUENCE, &out), algorithm))
    };
    let (tbs, algorithm) = rebuilt().ok_or_else(|| Error::Certificate("unexpected structure".into()))?;
    let signature = key.sign(&tbs)?;
    let bits = [&[0][..], &signature].concat();
    Ok(element(SEQUENCE, &[&tbs, algorithm, &element(BIT_STRING, &bits)].concat()))
}
