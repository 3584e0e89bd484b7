//! Links in what a proxied program answers: a path of its own leads back through the proxy.
//!
//! Invariants: only links to the program's own host with an absolute path are changed, as upstream does; a page is
//! passed on as it comes, and no more than one unfinished tag is held back.
//! Source: <https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/>

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, Uri};
use http_body_util::BodyExt;

use crate::body::{self, Body};

/// A tag longer than this is passed on as it is.
const MAX_TAG: usize = 64 * 1024;

/// Attributes that hold a link, by tag. Source: upstream's table, which follows the HTML 4 specification.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("track", &["src"]),
    ("video", &["poster", "src"]),
];
/// What is inside these is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];

/// The path that a proxied program's own paths are put behind.
#[derive(Clone, Debug)]
pub struct Prefix {
    path: String,
    /// How the client calls us: a link to this host is one to the program.
    host: String,
}

impl Prefix {
    /// `path`: the request's; `rest`: the part of it that the program sees.
    pub fn new(path: &str, rest: &str, headers: &HeaderMap) -> Self {
        let path = path.strip_suffix(rest).unwrap_or(path).trim_end_matches('/').to_owned();
        let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
        Self { path, host }
    }

    /// What the program is told of how it was reached.
    pub fn announce(&self, path: &str, headers: &mut HeaderMap) {
        for (name, value) in
            [("x-forwarded-uri", path), ("x-forwarded-host", self.host.as_str()), ("x-forwarded-proto", "https")]
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }

    fn link(&self, link: &str) -> Option<String> {
        let uri: Uri = link.split('#').next().unwrap_or_default().parse().ok()?;
        if uri.authority().is_some_and(|authority| authority.as_str() != self.host) {
            return None;
        }
        let at = match uri.authority() {
            Some(authority) => link.find(authority.as_str())? + authority.as_str().len(),
            None => 0,
        };
        let path = link.get(at..)?;
        let known =
            path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
        (path.starts_with('/') && !path.starts_with("//") && !known).then(|| format!("{}{path}", self.path))
    }
}

/// Changes an answer's redirection and, in a page, its links.
pub fn rewrite(mut response: Response<Body>, prefix: Prefix) -> Response<Body> {
    let text = |name| response.headers().get(&name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(location) = text(LOCATION).and_then(|location| prefix.link(location))
        && let Ok(location) = HeaderValue::from_str(&location)
    {
        response.headers_mut().insert(LOCATION, location);
    }
    let text = |name| response.headers().get(&name).and_then(|value: &HeaderValue| value.to_str().ok());
    let kind = text(CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let plain = text(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    if !(kind.eq_ignore_ascii_case("text/html") && plain) {
        return response;
    }
    response.headers_mut().remove(CONTENT_LENGTH);
    response.map(|body| {
        let state = (Some(body), Page { prefix, pending: Vec::new(), raw: None });
        body::stream(
            stream::unfold(state, |(body, mut page)| async move {
                let mut body = body?;
                loop {
                    match body.frame().await {
                        Some(Ok(frame)) => {
                            let Ok(data) = frame.into_data() else { continue };
                            let out = page.take(&data);
                            if !out.is_empty() {
                                return Some((Ok(Bytes::from(out)), (Some(body), page)));
                            }
                        }
                        Some(Err(error)) => return Some((Err(error), (None, page))),
                        None => return Some((Ok(Bytes::from(std::mem::take(&mut page.pending))), (None, page))),
                    }
                }
            })
            .filter(|item| std::future::ready(!matches!(item, Ok(bytes) if bytes.is_empty()))),
        )
    })
}

/// A page that is passing by.
struct Page {
    prefix: Prefix,
    /// The beginning of a tag whose end has not come yet.
    pending: Vec<u8>,
    /// Inside this element, up to its end.
    raw: Option<&'static str>,
}

impl Page {
    fn take(&mut self, data: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.pending);
        all.extend_from_slice(data);
        let mut out = Vec::with_capacity(all.len());
        let mut rest = all.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            let (before, tag) = rest.split_at(at);
            out.extend_from_slice(before);
            let Some(length) = tag_length(tag, self.raw.is_some()) else {
                if tag.len() > MAX_TAG {
                    out.extend_from_slice(tag);
                } else {
                    self.pending = tag.to_vec();
                }
                return out;
            };
            let (tag, after) = tag.split_at(length);
            self.tag(tag, &mut out);
            rest = after;
        }
        out.extend_from_slice(rest);
        out
    }

    fn tag(&mut self, tag: &[u8], out: &mut Vec<u8>) {
        let Ok(text) = std::str::from_utf8(tag) else { return out.extend_from_slice(tag) };
        let closing = text.starts_with("</");
        let name: String =
            text.trim_start_matches(['<', '/']).chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = name.to_ascii_lowercase();
        if let Some(raw) = self.raw {
            if closing && name == raw {
                self.raw = None;
            }
            return out.extend_from_slice(tag);
        }
        let Some((_, attributes)) = LINKS.iter().find(|(known, _)| *known == name).filter(|_| !closing) else {
            self.raw = RAW.iter().find(|raw| **raw == name && !closing).copied();
            return out.extend_from_slice(tag);
        };
        self.raw = RAW.iter().find(|raw| **raw == name && !text.ends_with("/>")).copied();
        let mut at = 0;
        for (key, value) in attributes_of(text) {
            let Some(link) = text.get(value.clone()).filter(|_| attributes.iter().any(|a| a.eq_ignore_ascii_case(key)))
            else {
                continue;
            };
            if let Some(link) = self.prefix.link(link) {
                out.extend_from_slice(&text.as_bytes()[at..value.start]);
                out.extend_from_slice(link.as_bytes());
                at = value.end;
            }
        }
        out.extend_from_slice(&text.as_bytes()[at..]);
    }
}

/// How long the tag or comment at the beginning of `text` is; `None` when its end has not come.
fn tag_length(text: &[u8], raw: bool) -> Option<usize> {
    match text.get(1) {
        None => return None,
        Some(b'!') if text.starts_with(b"<!--") => {
            return text.windows(3).skip(4).position(|end| end == b"-->").map(|at| at + 4 + 3);
        }
        // `<!-` may become a comment.
        Some(b'!') if text.len() < 4 => return None,
        Some(b'/' | b'!') => {}
        Some(letter) if letter.is_ascii_alphabetic() && !raw => {}
        // Only a sign.
        Some(_) => return Some(1),
    }
    let mut quote = None;
    for (at, byte) in text.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    None
}

/// The attributes of a tag: name, and where its value lies.
fn attributes_of(tag: &str) -> Vec<(&str, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let bytes = tag.as_bytes();
    let until = |from: usize, stop: &dyn Fn(u8) -> bool| {
        bytes[from..].iter().position(|byte| stop(*byte)).map_or(bytes.len(), |at| from + at)
    };
    let mut at = until(1, &|byte| byte.is_ascii_whitespace());
    while at < bytes.len() {
        let start = until(at, &|byte| !byte.is_ascii_whitespace() && byte != b'/');
        let end = until(start, &|byte| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'>'));
        let equals = until(end, &|byte| !byte.is_ascii_whitespace());
        if start == end {
            at = end + 1;
            continue;
        }
        if bytes.get(equals) != Some(&b'=') {
            at = end;
            continue;
        }
        let value = until(equals + 1, &|byte| !byte.is_ascii_whitespace());
        let (from, to) = match bytes.get(value) {
            Some(quote @ (b'"' | b'\'')) => (value + 1, until(value + 1, &|byte| byte == *quote)),
            Some(_) => (value, until(value, &|byte| byte.is_ascii_whitespace() || byte == b'>')),
            None => break,
        };
        found.push((&tag[start..end], from..to));
        at = to + 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> Prefix {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("cluster:6443"));
        Prefix::new("/api/v1/namespaces/n/pods/p:80/proxy/a/b", "/a/b", &headers)
    }

    #[test]
    fn only_own_absolute_paths_change() {
        for (link, want) in [
            ("/x", Some("/api/v1/namespaces/n/pods/p:80/proxy/x")),
            ("/x?y=/z#f", Some("/api/v1/namespaces/n/pods/p:80/proxy/x?y=/z#f")),
            ("/", Some("/api/v1/namespaces/n/pods/p:80/proxy/")),
            ("https://cluster:6443/x/", Some("/api/v1/namespaces/n/pods/p:80/proxy/x/")),
            ("x", None),
            ("../x", None),
            ("#f", None),
            ("", None),
            ("//other/x", None),
            ("http://other/x", None),
            ("mailto:a@b", None),
            ("/api/v1/namespaces/n/pods/p:80/proxy/x", None),
        ] {
            assert_eq!(prefix().link(link).as_deref(), want, "{link:?}");
        }
    }

    fn page(text: &str) -> String {
        // However it is cut.
        let whole = (1..=text.len()).map(|size| {
            let mut page =
                Page { prefix: Prefix { path: "/P".into(), host: String::new() }, pending: Vec::new(), raw: None };
            let mut out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|chunk| page.take(chunk)).collect();
            out.extend(page.pending);
            String::from_utf8(out).unwrap()
        });
        let all: std::collections::BTreeSet<String> = whole.collect();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.into_iter().next().unwrap()
    }

    #[test]
    fn pages() {
        for (text, want) in [
            ("<a href=\"/x\">t</a>", "<a href=\"/P/x\">t</a>"),
            ("<A class=b HREF='/x' id=c>", "<A class=b HREF='/P/x' id=c>"),
            (
                "<img alt='<a href=\"/x\">' src=/y usemap=\"/z\"/>",
                "<img alt='<a href=\"/x\">' src=/P/y usemap=\"/P/z\"/>",
            ),
            ("<p title=\"/x\">1 < 2 <b>é</b>", "<p title=\"/x\">1 < 2 <b>é</b>"),
            ("<!-- <a href=\"/x\"> --><a href=\"/x\">", "<!-- <a href=\"/x\"> --><a href=\"/P/x\">"),
            (
                "<script src=\"/x\">if (a<b) '<a href=\"/x\">'</script>",
                "<script src=\"/P/x\">if (a<b) '<a href=\"/x\">'</script>",
            ),
            (
                "<!DOCTYPE html><html><form method=post action = \"/x\">",
                "<!DOCTYPE html><html><form method=post action = \"/P/x\">",
            ),
            ("<a href>", "<a href>"),
            ("<a href=\"/x", "<a href=\"/x"),
            ("<", "<"),
        ] {
            assert_eq!(page(text), want);
        }
    }
}
