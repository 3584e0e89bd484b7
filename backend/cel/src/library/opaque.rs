//! Values of the libraries' own types.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use pilothouse_api::quantity::Quantity;

use super::urls::Url;

#[derive(Clone, Debug, PartialEq)]
pub enum Opaque {
    Quantity(Quantity),
    Ip(IpAddr),
    /// The address as it was written, and how many of its bits count.
    Cidr(IpNet),
    Url(Arc<Url>),
    Semver(Arc<semver::Version>),
    /// The name of a format.
    Format(&'static str),
}

pub const QUANTITY: &str = "kubernetes.Quantity";
pub const IP: &str = "net.IP";
pub const CIDR: &str = "net.CIDR";
pub const URL: &str = "kubernetes.URL";
pub const SEMVER: &str = "kubernetes.Semver";
pub const FORMAT: &str = "kubernetes.NamedFormat";

impl Opaque {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => QUANTITY,
            Self::Ip(_) => IP,
            Self::Cidr(_) => CIDR,
            Self::Url(_) => URL,
            Self::Semver(_) => SEMVER,
            Self::Format(_) => FORMAT,
        }
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(quantity) => write!(f, "{quantity}"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Cidr(cidr) => write!(f, "{cidr}"),
            Self::Url(url) => f.write_str(&url.text),
            Self::Semver(version) => write!(f, "{version}"),
            Self::Format(name) => f.write_str(name),
        }
    }
}
