//! Documents that were good once.
//!
//! The input is a program: it chooses a good document and damages it step by step, so that a fuzzer which changes bytes
//! of its input changes structure, and what it finds stays small and readable.

/// Pieces that are special to somebody on the way.
const PIECES: &[&[u8]] = &[
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b"-1",
    b"1e400",
    b"9223372036854775808",
    b"-0",
    b"true",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xc3\x28",
    b"{\"a\":",
    b"[[[[",
    b"]]]]",
    b"}}}}",
    b",",
    b":",
    b"\n",
    b"---\n",
    b"&a [*a]",
    b"<<: *a",
    b"? ",
    b"!!binary x",
    b"~0",
    b"~1",
    b"/-",
    b"/00",
    b"$patch",
    b"$retainKeys",
    b"$setElementOrder/containers",
    b"$deleteFromPrimitiveList/finalizers",
    b"metadata",
    b"managedFields",
    b"generateName",
    b"resourceVersion",
    b"f:spec",
    b"k:{\"name\":\"x\"}",
    b"%2e%2e%2f",
    b"%00",
    b"../",
    b"//",
    b"?watch=true",
    b"&limit=-1",
    b"&continue=e30",
    b"&labelSelector=a%20in%20(",
    b"&fieldSelector=a%3D%3D",
    b"&dryRun=All",
    b"&fieldManager=x",
    b"&force=true",
    b"1Ki",
    b"1e3",
    b"0.1m",
    b"2013-03-21T20:04:00Z",
    b"0001-01-01T00:00:00Z",
    b"\xf0\x9f\x92\xa9",
    b"self.",
    b".all(x, ",
    b"has(",
    b"matches('(a+)+$')",
    b" in ",
    b"dyn(",
    b"duration('1h')",
    b"quantity('1Ki')",
    b"\"x-kubernetes-",
    b"\"$ref\":\"#\"",
];
/// Longest document that is built: the limits of real bodies have tests of their own.
const MAX_BYTES: usize = 64 * 1024;

/// Reads the program.
pub struct Program<'a> {
    rest: &'a [u8],
}

impl<'a> Program<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// The next byte; zeros when there are no more.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn number(&mut self, below: usize) -> usize {
        let number = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        if below == 0 { 0 } else { number % below }
    }

    pub fn choose<'c, T>(&mut self, among: &'c [T]) -> &'c T {
        &among[usize::from(self.byte()) % among.len()]
    }

    /// One of the good documents, damaged.
    pub fn document(&mut self, good: &[&str]) -> Vec<u8> {
        let mut document = self.choose(good).as_bytes().to_vec();
        for _ in 0..self.byte() % 8 {
            self.damage(&mut document);
            document.truncate(MAX_BYTES);
        }
        document
    }

    /// As [`Program::document`], as text.
    pub fn text(&mut self, good: &[&str]) -> String {
        String::from_utf8_lossy(&self.document(good)).into_owned()
    }

    fn damage(&mut self, document: &mut Vec<u8>) {
        let at = self.number(document.len() + 1);
        match self.byte() % 8 {
            0 => drop(document.splice(at..at, self.choose(PIECES).iter().copied())),
            1 => {
                // In the place of a value: up to the next end of one.
                let end = document[at..]
                    .iter()
                    .position(|byte| b",}]\n".contains(byte))
                    .map_or(document.len(), |end| at + end);
                document.splice(at..end, self.choose(PIECES).iter().copied());
            }
            2 => {
                let end = (at + self.number(32)).min(document.len());
                document.drain(at..end);
            }
            3 => {
                let end = (at + self.number(256)).min(document.len());
                let piece = document[at..end].to_vec();
                let to = self.number(document.len() + 1);
                document.splice(to..to, piece);
            }
            4 => {
                let byte = self.byte();
                if let Some(old) = document.get_mut(at) {
                    *old = byte;
                }
            }
            5 => {
                // Many of the same: deep, or long.
                let piece = self.choose(PIECES).repeat(1 << (self.byte() % 10));
                document.splice(at..at, piece);
            }
            6 => document.truncate(at),
            _ => {
                let count = usize::from(self.byte() % 16).min(self.rest.len());
                let (piece, rest) = self.rest.split_at(count);
                self.rest = rest;
                document.splice(at..at, piece.iter().copied());
            }
        }
    }
}
