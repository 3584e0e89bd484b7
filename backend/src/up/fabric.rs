//! The network that joins this machine and its nodes: a bridge here, a veth pair to each node.
//!
//! Invariants: everything made here carries the cluster's tag (bridge `ph-TAG`, `phv-TAG-N`, table `pilothouse-TAG`), so
//! clusters of different data directories do not meet, and `remove` takes all of it away; only what comes in by a
//! cluster's own bridge is touched by its rules, as pods of several clusters have the same addresses; the machine's
//! forwarding setting is put back by the last cluster.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const BRIDGES: &str = "ph-";
/// The mark of packets that leave with this machine's address.
const LEAVES: u32 = 0x2000;
/// Nodes on one machine; the fabric's addresses .11 to .210 are theirs.
pub const MAX_NODES: u8 = 200;

/// The network of one cluster on this machine: a /24 whose `.1` is the machine.
#[derive(Clone, Debug)]
pub struct Fabric {
    tag: String,
    network: Ipv4Addr,
}

/// Runs a command whose failure is an error that quotes what it said.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {program}: is it installed? (scripts/setup)"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn ip(words: &str) -> Result<()> {
    run("ip", &words.split(' ').collect::<Vec<_>>())
}

fn exists(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).exists()
}

/// Loads a whole ruleset text as one transaction.
fn nft(rules: &str) -> Result<()> {
    use std::io::Write;
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("running nft: is it installed? (scripts/setup)")?;
    child.stdin.take().context("nft has no input")?.write_all(rules.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

impl Fabric {
    /// `tag`: at most 8 characters that tell this cluster from others on the machine.
    pub fn new(tag: &str, network: Ipv4Addr) -> Self {
        Self { tag: tag.to_owned(), network }
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.network.octets();
        Ipv4Addr::new(a, b, c, last)
    }

    /// This machine's address on the fabric.
    pub fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    pub fn node_address(&self, index: u8) -> Ipv4Addr {
        self.address(10 + index)
    }

    fn bridge(&self) -> String {
        format!("{BRIDGES}{}", self.tag)
    }

    fn interface(&self, index: u8) -> String {
        format!("ph{}.{index}", self.tag)
    }

    fn table(&self) -> String {
        format!("pilothouse-{}", self.tag)
    }

    /// The bridge, its address, forwarding, and the nodes' way out. `run_dir` keeps what `remove` puts back.
    pub fn ensure(&self, run_dir: &Path, pod_cidr: &str, service_cidr: &str) -> Result<()> {
        let (bridge, gateway) = (self.bridge(), self.gateway());
        if !exists(&bridge) {
            ip(&format!("link add {bridge} type bridge"))?;
            ip(&format!("addr add {gateway}/24 dev {bridge}"))?;
        }
        ip(&format!("link set {bridge} up"))?;
        let saved = saved_setting(run_dir);
        if !saved.exists() {
            fs::write(&saved, fs::read_to_string(FORWARD)?)?;
        }
        fs::write(FORWARD, "1").with_context(|| format!("writing {FORWARD}"))?;
        let table = self.table();
        nft(&format!(
            "table ip {table} {{}}\ndelete table ip {table}\n\
             table ip {table} {{\n\
               chain forward {{ type filter hook forward priority filter; policy accept;\n\
                 iifname \"{bridge}\" oifname != \"{bridge}\" meta mark set meta mark or {LEAVES:#x}\n\
               }}\n\
               chain postrouting {{ type nat hook postrouting priority srcnat; policy accept;\n\
                 meta mark & {LEAVES:#x} == {LEAVES:#x} masquerade\n\
               }}\n\
             }}\n"
        ))?;
        // From this machine, pods and ClusterIPs are reached through the first node of the first cluster.
        let first = self.node_address(1);
        for network in [pod_cidr, service_cidr] {
            let _ = ip(&format!("route add {network} via {first} dev {bridge}"));
        }
        Ok(())
    }

    /// Gives the node whose network namespace is `pid`'s its `eth0` on the fabric; nothing to do when it has it.
    pub fn attach(&self, index: u8, pid: i32) -> Result<()> {
        let name = self.interface(index);
        let target = format!("--net=/proc/{pid}/ns/net");
        if exists(&name) && run("nsenter", &[&target, "ip", "link", "show", "eth0"]).is_ok() {
            return Ok(());
        }
        if exists(&name) {
            ip(&format!("link del {name}"))?;
        }
        ip(&format!("link add {name} type veth peer name eth0 netns {pid}"))?;
        ip(&format!("link set {name} master {} up", self.bridge()))?;
        let address = format!("{}/24", self.node_address(index));
        for words in [
            format!("addr add {address} dev eth0"),
            "link set eth0 up".into(),
            format!("route replace default via {}", self.gateway()),
        ] {
            let mut arguments = vec![target.as_str(), "ip"];
            arguments.extend(words.split(' '));
            run("nsenter", &arguments)?;
        }
        Ok(())
    }

    /// Takes away everything `ensure` and `attach` made.
    pub fn remove(&self, run_dir: &Path) -> Result<()> {
        for index in 1..=MAX_NODES {
            if exists(&self.interface(index)) {
                ip(&format!("link del {}", self.interface(index)))?;
            }
        }
        if exists(&self.bridge()) {
            ip(&format!("link del {}", self.bridge()))?;
        }
        nft(&format!("table ip {0} {{}}\ndelete table ip {0}\n", self.table()))?;
        let saved = saved_setting(run_dir);
        if let Ok(former) = fs::read_to_string(&saved)
            && !any_bridge()?
        {
            fs::write(FORWARD, former)?;
            fs::remove_file(saved)?;
        }
        Ok(())
    }
}

/// Where the first cluster of the machine keeps what the last one puts back.
fn saved_setting(run_dir: &Path) -> PathBuf {
    run_dir.parent().unwrap_or(run_dir).join("ip_forward")
}

fn any_bridge() -> Result<bool> {
    let mut interfaces = fs::read_dir("/sys/class/net")?.flatten();
    Ok(interfaces.any(|interface| interface.file_name().to_string_lossy().starts_with(BRIDGES)))
}
