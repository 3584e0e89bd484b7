//! The database's URL, which may name several servers of which one takes writes at a time. Pure.
//!
//! `postgres://user:password@one:5432,two:5432/database?…` or `postgres:///database?host=/socket/one,/socket/two&…`, as
//! libpq has it. Every server is asked at once which of them takes writes; there is no other order.

use url::Url;

use crate::{Error, Result};

/// Servers of one cluster; more are a mistake.
const MAX_HOSTS: usize = 16;

/// What the URL says, a URL of its own for each server.
#[derive(Debug)]
pub(crate) struct Address {
    pub hosts: Vec<Url>,
    /// `disable` (also when absent), `require`, `verify-ca`, `verify-full` and what else libpq knows.
    pub ssl_mode: String,
    pub ssl_root: Option<String>,
    /// Whether only a server that takes writes will do: asked for, or there are several to choose from.
    pub read_write: bool,
}

fn wrong(what: &str) -> Error {
    Error::Internal(format!("the database URL {what}"))
}

impl Address {
    pub fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("must start with postgres://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        // A password may hold a comma, a host may not.
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let mut servers = Vec::new();
        for host in hosts.split(',') {
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            let url = Url::parse(&format!("{scheme}://{user}{host}{tail}"));
            servers.push(url.map_err(|error| wrong(&format!("cannot be parsed: {error}")))?);
        }
        if !matches!(scheme, "postgres" | "postgresql") {
            return Err(wrong("must start with postgres://"));
        }
        let mut address = Self { hosts: Vec::new(), ssl_mode: "disable".into(), ssl_root: None, read_write: false };
        for server in servers {
            address.take(server)?;
        }
        if address.hosts.len() > MAX_HOSTS {
            return Err(wrong(&format!("names more than {MAX_HOSTS} servers")));
        }
        address.read_write |= address.hosts.len() > 1;
        Ok(address)
    }

    /// A server of the authority; its parameter `host` may make several of it.
    fn take(&mut self, mut url: Url) -> Result<()> {
        let (mut sockets, mut rest) = (Vec::new(), Vec::new());
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("sslmode", _) => self.ssl_mode = value.into_owned(),
                ("sslrootcert", _) => self.ssl_root = Some(value.into_owned()),
                ("target_session_attrs", "any") => {}
                ("target_session_attrs", "read-write" | "primary") => self.read_write = true,
                ("target_session_attrs", other) => {
                    return Err(wrong(&format!("asks for {other:?} servers; only read-write ones can be used")));
                }
                ("host", _) => sockets.extend(value.split(',').map(str::to_owned)),
                _ => rest.push((name.into_owned(), value.into_owned())),
            }
        }
        let hosts = if sockets.is_empty() { vec![None] } else { sockets.into_iter().map(Some).collect() };
        for host in hosts {
            url.set_query(None);
            if host.is_some() || !rest.is_empty() {
                let mut query = url.query_pairs_mut();
                query.extend_pairs(host.map(|host| ("host".to_owned(), host)));
                query.extend_pairs(&rest);
            }
            self.hosts.push(url.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Vec<String> {
        Address::parse(url).unwrap().hosts.into_iter().map(String::from).collect()
    }

    #[test]
    fn every_server_has_a_url_of_its_own() {
        for (url, expected) in [
            ("postgres:///db?host=/tmp/s&user=p", vec!["postgres:///db?host=%2Ftmp%2Fs&user=p"]),
            ("postgres://u@%2Ftmp%2Fs/db", vec!["postgres://u@%2Ftmp%2Fs/db"]),
            (
                "postgres://u:a,b@one:1,two/db?sslmode=disable",
                vec!["postgres://u:a,b@one:1/db", "postgres://u:a,b@two/db"],
            ),
            (
                "postgresql://one,[::1]:2/db?target_session_attrs=read-write&user=u",
                vec!["postgresql://one/db?user=u", "postgresql://[::1]:2/db?user=u"],
            ),
            (
                "postgres:///db?host=/a,/b&user=p",
                vec!["postgres:///db?host=%2Fa&user=p", "postgres:///db?host=%2Fb&user=p"],
            ),
        ] {
            assert_eq!(hosts(url), expected, "{url}");
        }
    }

    #[test]
    fn one_of_several_takes_writes() {
        assert!(!Address::parse("postgres://one/db").unwrap().read_write, "there is no other");
        assert!(Address::parse("postgres://one,two/db").unwrap().read_write);
        assert!(Address::parse("postgres://one/db?target_session_attrs=read-write").unwrap().read_write);
        let error = Address::parse("postgres://one,two/db?target_session_attrs=standby").unwrap_err().to_string();
        assert!(error.contains("\"standby\""), "{error}");
        assert!(Address::parse("postgres://one:x,two/db").is_err(), "a port that is none");
    }
}
