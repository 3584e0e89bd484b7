//! Cluster DNS on every node: the cluster's zone from the index of Services, everything else from the node's own
//! resolvers.
//!
//! Invariants: it listens only on the cluster DNS address, which every node carries on its loopback device, so a
//! query never leaves the node; before both watches have listed it answers SERVFAIL, never a false NXDOMAIN.

pub mod records;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::records::{Answer, Data};
use crate::network::Context;
use crate::network::index::Services;

const PORT: u16 = 53;
/// How long a resolver may take before the next one is asked.
const UPSTREAM_PATIENCE: Duration = Duration::from_secs(2);
const TCP_IDLE: Duration = Duration::from_secs(10);
const TCP_RESPONSE_BUFFER: usize = 32;
/// Largest UDP answer taken from a resolver.
const MAX_DATAGRAM: usize = 4096;
/// CNAMEs that point into the zone are followed this far.
const MAX_CNAME_CHAIN: usize = 8;
const TTL: u32 = 5;
const RETRY: Duration = Duration::from_secs(2);
const RESOLV_CONF: &str = "/etc/resolv.conf";

struct Zone {
    services: Arc<Services>,
    domain: String,
    own_address: Ipv4Addr,
}

/// What is sent back, in DNS's own shapes.
#[derive(Default)]
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    soa: Vec<Record>,
}

/// The node's resolvers, without ourselves; read anew for each question that needs them, since DHCP may change them.
fn resolvers(own: Ipv4Addr) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    named
        .filter_map(|address| address.trim().parse().ok())
        .filter(|ip| *ip != own)
        .map(|ip| SocketAddr::new(ip, PORT))
        .collect()
}

async fn ask_udp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut answer).await?;
        // Another question's late answer has another id.
        if length >= 12 && answer.get(..2) == question.get(..2) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_tcp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

impl Zone {
    async fn upstream(&self, question: &[u8]) -> Reply {
        for resolver in resolvers(self.own_address) {
            let Ok(Ok(bytes)) = timeout(UPSTREAM_PATIENCE, ask_udp(resolver, question)).await else { continue };
            let Ok(mut message) = Message::from_vec(&bytes) else { continue };
            if message.metadata.truncation
                && let Ok(Ok(bytes)) = timeout(UPSTREAM_PATIENCE, ask_tcp(resolver, question)).await
                && let Ok(whole) = Message::from_vec(&bytes)
            {
                message = whole;
            }
            let soa = message.authorities.into_iter().filter(|r| r.record_type() == RecordType::SOA).collect();
            let code = message.metadata.response_code;
            return Reply { code, authoritative: false, answers: message.answers, soa };
        }
        Reply { code: ResponseCode::ServFail, ..Reply::default() }
    }

    fn soa(&self) -> Option<Record> {
        let name = |text: String| Name::from_ascii(text).ok();
        let zone = name(format!("{}.", self.domain))?;
        let data = SOA::new(
            name(format!("ns.dns.{}.", self.domain))?,
            name(format!("hostmaster.{}.", self.domain))?,
            1,
            7200,
            1800,
            86_400,
            TTL,
        );
        Some(Record::from_rdata(zone, TTL, RData::SOA(data)))
    }

    fn record(owner: &Name, data: &Data) -> Option<Record> {
        let name = |text: &str| Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).ok();
        let data = match data {
            Data::A(address) => RData::A(A(*address)),
            Data::Srv { port, target } => RData::SRV(SRV::new(0, 100, *port, name(target)?)),
            Data::Ptr(target) => RData::PTR(PTR(name(target)?)),
            Data::Cname(target) => RData::CNAME(CNAME(name(target)?)),
            Data::Txt(text) => RData::TXT(TXT::new(vec![(*text).to_owned()])),
        };
        Some(Record::from_rdata(owner.clone(), TTL, data))
    }

    fn matches(data: &Data, kind: RecordType) -> bool {
        let own = match data {
            Data::A(_) => RecordType::A,
            Data::Srv { .. } => RecordType::SRV,
            Data::Ptr(_) => RecordType::PTR,
            Data::Cname(_) => return true,
            Data::Txt(_) => RecordType::TXT,
        };
        kind == own || kind == RecordType::ANY
    }

    async fn answer(&self, name: &Name, kind: RecordType, raw: &[u8]) -> Reply {
        let mut owner = name.clone();
        let mut reply = Reply { authoritative: true, ..Reply::default() };
        for step in 0..MAX_CNAME_CHAIN {
            let text = owner.to_ascii().trim_end_matches('.').to_ascii_lowercase();
            let found = {
                let state = self.services.state.read();
                if !state.is_synced() && (text.ends_with(&self.domain) || text.ends_with(".in-addr.arpa")) {
                    return Reply { code: ResponseCode::ServFail, ..Reply::default() };
                }
                records::answer(&state, &self.domain, &text)
            };
            match found {
                Answer::Foreign if step == 0 => return self.upstream(raw).await,
                Answer::Foreign => {
                    if let Ok(question) = question(&owner, kind) {
                        reply.answers.extend(self.upstream(&question).await.answers);
                    }
                    return reply;
                }
                Answer::NoName => {
                    reply.code = if step == 0 { ResponseCode::NXDomain } else { reply.code };
                    reply.soa.extend(self.soa());
                    return reply;
                }
                Answer::Found(all) => {
                    let mut fitting: Vec<&Data> = all.iter().filter(|data| Self::matches(data, kind)).collect();
                    // Most clients take the first: each shall get another.
                    fitting.sort_by_cached_key(|_| rand::random::<u32>());
                    reply.answers.extend(fitting.iter().filter_map(|data| Self::record(&owner, data)));
                    match (fitting.first(), kind) {
                        (Some(Data::Cname(target)), RecordType::A | RecordType::AAAA) => {
                            let Ok(next) = Name::from_ascii(format!("{}.", target.trim_end_matches('.'))) else {
                                return reply;
                            };
                            owner = next;
                        }
                        (Some(_), _) => return reply,
                        (None, _) => {
                            reply.soa.extend(self.soa());
                            return reply;
                        }
                    }
                }
            }
        }
        reply
    }
}

/// A question of our own, for the target of a CNAME outside the zone.
fn question(name: &Name, kind: RecordType) -> Result<Vec<u8>, hickory_proto::ProtoError> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(hickory_proto::op::Query::query(name.clone(), kind));
    message.to_vec()
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let reply = match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => {
                let query = info.query.original();
                self.answer(query.name(), query.query_type(), request.as_slice()).await
            }
            Ok(_) => Reply { code: ResponseCode::NotImp, ..Reply::default() },
            Err(_) => Reply { code: ResponseCode::FormErr, ..Reply::default() },
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = true;
        metadata.response_code = reply.code;
        let message =
            MessageResponseBuilder::from_message_request(request).build(metadata, &reply.answers, [], &reply.soa, []);
        response.send_response(message).await.unwrap_or_else(|error| {
            warn!(%error, "a DNS answer was not sent");
            let mut failed = Metadata::response_from_request(&request.metadata);
            failed.response_code = ResponseCode::ServFail;
            hickory_proto::op::Header { metadata: failed, counts: hickory_proto::op::HeaderCounts::default() }.into()
        })
    }
}

/// Asks this node's cluster DNS a question that only it can answer.
///
/// # Errors
/// What went wrong, in words.
pub async fn health(address: Ipv4Addr, domain: &str) -> Result<(), String> {
    let name = Name::from_ascii(format!("dns-version.{domain}.")).map_err(|error| error.to_string())?;
    let question = question(&name, RecordType::TXT).map_err(|error| error.to_string())?;
    let answer = timeout(UPSTREAM_PATIENCE, ask_udp((address, PORT).into(), &question)).await;
    let bytes = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
    let message = Message::from_vec(&bytes).map_err(|error| error.to_string())?;
    match message.metadata.response_code {
        ResponseCode::NoError if !message.answers.is_empty() => Ok(()),
        code => Err(format!("answered {code}")),
    }
}

async fn listen(address: Ipv4Addr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let output = Command::new("ip").args(["addr", "replace", &format!("{address}/32"), "dev", "lo"]).output().await?;
    if !output.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok((UdpSocket::bind((address, PORT)).await?, TcpListener::bind((address, PORT)).await?))
}

pub async fn run(context: &Context, services: Arc<Services>, shutdown: CancellationToken) {
    let address = context.cluster_dns;
    while !shutdown.is_cancelled() {
        match listen(address).await {
            Ok((udp, tcp)) => {
                let zone = Zone {
                    services: Arc::clone(&services),
                    domain: context.cluster_domain.clone(),
                    own_address: address,
                };
                let mut server = Server::new(zone);
                server.register_socket(udp);
                server.register_listener(tcp, TCP_IDLE, TCP_RESPONSE_BUFFER);
                info!(%address, "cluster DNS answers");
                tokio::select! {
                    end = server.block_until_done() => warn!(?end, "cluster DNS stopped; starting again"),
                    () = shutdown.cancelled() => return,
                }
            }
            Err(error) => warn!(%address, %error, "cluster DNS cannot listen"),
        }
        tokio::select! { () = sleep(RETRY) => {}, () = shutdown.cancelled() => return }
    }
}
