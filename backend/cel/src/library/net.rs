//! Addresses and networks: <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-ip-address-library>

use std::net::IpAddr;

use ipnet::IpNet;

use super::opaque::{CIDR, IP, Opaque};
use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::value::Value;

const A: T = T::Opaque(IP);
const N: T = T::Opaque(CIDR);

pub(crate) const ALL: &[Overload] = &[
    global("ip", &[T::String], A, Cost::Walk(0), |args| Ok(Value::Opaque(Opaque::Ip(parse_ip(text(args, 0)?)?)))),
    global("isIP", &[T::String], T::Bool, Cost::Walk(0), |args| Ok(parse_ip(text(args, 0)?).is_ok().into())),
    global("isIP", &[T::String, T::Int], T::Bool, Cost::Walk(0), |args| {
        let Value::Int(family) = args[1] else { return Err(Error::no_such_overload()) };
        Ok(parse_ip(text(args, 0)?).is_ok_and(|ip| family_of(ip) == family).into())
    }),
    global("ip.isCanonical", &[T::String], T::Bool, Cost::Walk(0), |args| {
        let text = text(args, 0)?;
        Ok((parse_ip(text)?.to_string() == text).into())
    }),
    member("family", &[A], T::Int, Cost::One, |args| Ok(Value::Int(family_of(ip(args, 0)?)))),
    member("isUnspecified", &[A], T::Bool, Cost::One, |args| Ok(ip(args, 0)?.is_unspecified().into())),
    member("isLoopback", &[A], T::Bool, Cost::One, |args| Ok(ip(args, 0)?.is_loopback().into())),
    member("isLinkLocalMulticast", &[A], T::Bool, Cost::One, |args| {
        Ok(match ip(args, 0)? {
            IpAddr::V4(ip) => ip.octets().starts_with(&[224, 0, 0]),
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }
        .into())
    }),
    member("isLinkLocalUnicast", &[A], T::Bool, Cost::One, |args| {
        Ok(match ip(args, 0)? {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
        }
        .into())
    }),
    member("isGlobalUnicast", &[A], T::Bool, Cost::One, |args| {
        let ip = ip(args, 0)?;
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
        };
        Ok(Value::Bool(!(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)))
    }),
    global("cidr", &[T::String], N, Cost::Walk(0), |args| Ok(Value::Opaque(Opaque::Cidr(parse_cidr(text(args, 0)?)?)))),
    global("isCIDR", &[T::String], T::Bool, Cost::Walk(0), |args| Ok(parse_cidr(text(args, 0)?).is_ok().into())),
    member("containsIP", &[N, A], T::Bool, Cost::One, |args| Ok(cidr(args, 0)?.contains(&ip(args, 1)?).into())),
    member("containsIP", &[N, T::String], T::Bool, Cost::Walk(1), |args| {
        Ok(cidr(args, 0)?.contains(&parse_ip(text(args, 1)?)?).into())
    }),
    member("containsCIDR", &[N, N], T::Bool, Cost::One, |args| Ok(contains(cidr(args, 0)?, cidr(args, 1)?).into())),
    member("containsCIDR", &[N, T::String], T::Bool, Cost::Walk(1), |args| {
        Ok(contains(cidr(args, 0)?, parse_cidr(text(args, 1)?)?).into())
    }),
    member("ip", &[N], A, Cost::One, |args| Ok(Value::Opaque(Opaque::Ip(cidr(args, 0)?.addr())))),
    member("masked", &[N], N, Cost::One, |args| Ok(Value::Opaque(Opaque::Cidr(cidr(args, 0)?.trunc())))),
    member("prefixLength", &[N], T::Int, Cost::One, |args| Ok(Value::Int(i64::from(cidr(args, 0)?.prefix_len())))),
];

fn contains(outer: IpNet, inner: IpNet) -> bool {
    outer.prefix_len() <= inner.prefix_len() && outer.contains(&inner.addr())
}

fn family_of(ip: IpAddr) -> i64 {
    if ip.is_ipv4() { 4 } else { 6 }
}

fn text<'v>(args: &'v [Value<'_>], at: usize) -> Result<&'v str> {
    args.get(at).and_then(Value::as_str).ok_or_else(Error::no_such_overload)
}

fn ip(args: &[Value<'_>], at: usize) -> Result<IpAddr> {
    match args.get(at) {
        Some(Value::Opaque(Opaque::Ip(ip))) => Ok(*ip),
        _ => Err(Error::no_such_overload()),
    }
}

fn cidr(args: &[Value<'_>], at: usize) -> Result<IpNet> {
    match args.get(at) {
        Some(Value::Opaque(Opaque::Cidr(cidr))) => Ok(*cidr),
        _ => Err(Error::no_such_overload()),
    }
}

/// Zones and addresses of one family written in the other are refused.
fn parse_ip(text: &str) -> Result<IpAddr> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| Error::new(format!("IP Address {text:?} parse error during conversion from string")))?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(Error::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<IpNet> {
    let wrong = || Error::new(format!("network address parse error during conversion from string: {text:?}"));
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let address = parse_ip(address).map_err(|_| wrong())?;
    let plain =
        !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let length = length.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    IpNet::new(address, length).map_err(|_| wrong())
}
