//! Turns models into nftables transactions: the whole table once, then only differences.
//!
//! Invariant: everything happens in the one table `ip pilothouse`; each script is one transaction, applied whole or
//! not at all.

use std::fmt::Write;
use std::io;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::rules::{MASQUERADE_MARK, Model};

/// The part of the table that never changes. Hooks and priorities are those kube-proxy's nftables mode uses.
fn skeleton() -> String {
    format!(
        "table ip pilothouse {{}}
delete table ip pilothouse
table ip pilothouse {{
  map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map external-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node-ports {{ type inet_proto . inet_service : verdict; }}
  map host-ports {{ type inet_proto . inet_service : verdict; }}
  map no-endpoint-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map no-endpoint-node-ports {{ type inet_proto . inet_service : verdict; }}
  set pod-networks {{ type ipv4_addr; flags interval; }}
  set cluster-ips {{ type ipv4_addr . inet_proto . inet_service; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain services {{
    ip saddr != @pod-networks ip daddr . meta l4proto . th dport @cluster-ips meta mark set meta mark or {MASQUERADE_MARK:#x}
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr . meta l4proto . th dport vmap @external-ips
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @host-ports
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node-ports
  }}
  chain refused {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain refuse {{
    ip daddr . meta l4proto . th dport vmap @no-endpoint-ips
    fib daddr type local meta l4proto . th dport vmap @no-endpoint-node-ports
  }}
  chain prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump services; }}
  chain output {{ type nat hook output priority -100; policy accept; jump services; }}
  chain filter-input {{ type filter hook input priority filter; policy accept; ct state new jump refuse; }}
  chain filter-forward {{ type filter hook forward priority filter; policy accept; ct state new jump refuse; }}
  chain filter-output {{ type filter hook output priority filter; policy accept; ct state new jump refuse; }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & {MASQUERADE_MARK:#x} == {MASQUERADE_MARK:#x} meta mark set meta mark xor {MASQUERADE_MARK:#x} masquerade fully-random
    ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random
    ip saddr @pod-networks ip daddr != @pod-networks oifname != \"cni0\" masquerade fully-random
  }}
}}
"
    )
}

fn element(out: &mut String, verb: &str, set: &str, key: &str, value: &str) {
    let colon = if value.is_empty() { "" } else { " : " };
    let _ = writeln!(out, "{verb} element ip pilothouse {set} {{ {key}{colon}{value} }}");
}

/// The script that turns a table holding `old` into one holding `new`; empty when they are equal.
pub fn difference(old: &Model, new: &Model) -> String {
    let mut out = String::new();
    for ((set, key), _) in old.elements.iter().filter(|(key, value)| new.elements.get(*key) != Some(value)) {
        element(&mut out, "delete", set, key, "");
    }
    for (set, seconds) in new.affinity.iter().filter(|(set, seconds)| old.affinity.get(*set) != Some(seconds)) {
        let _ = writeln!(
            out,
            "add set ip pilothouse {set} {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}"
        );
    }
    for chain in new.chains.keys().filter(|chain| !old.chains.contains_key(*chain)) {
        let _ = writeln!(out, "add chain ip pilothouse {chain}");
    }
    for (chain, rules) in new.chains.iter().filter(|(chain, rules)| old.chains.get(*chain) != Some(rules)) {
        if old.chains.contains_key(chain) {
            let _ = writeln!(out, "flush chain ip pilothouse {chain}");
        }
        for rule in rules {
            let _ = writeln!(out, "add rule ip pilothouse {chain} {rule}");
        }
    }
    let gone: Vec<&String> = old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)).collect();
    for chain in &gone {
        let _ = writeln!(out, "flush chain ip pilothouse {chain}");
    }
    for chain in gone {
        let _ = writeln!(out, "delete chain ip pilothouse {chain}");
    }
    for set in old.affinity.keys().filter(|set| !new.affinity.contains_key(*set)) {
        let _ = writeln!(out, "delete set ip pilothouse {set}");
    }
    for ((set, key), value) in new.elements.iter().filter(|(key, value)| old.elements.get(*key) != Some(value)) {
        element(&mut out, "add", set, key, value);
    }
    out
}

/// The script that makes the table anew.
pub fn whole(model: &Model) -> String {
    skeleton() + &difference(&Model::default(), model)
}

/// Runs one transaction.
pub async fn apply(script: &str) -> io::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(said.lines().take(4).collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(rule: &str) -> Model {
        let mut model = Model::default();
        model.chains.insert("svc-1".into(), vec![rule.into()]);
        model.elements.insert(("service-ips", "10.96.0.1 . tcp . 443".into()), "goto svc-1".into());
        model
    }

    #[test]
    fn equal_models_need_nothing() {
        assert_eq!(difference(&model("accept"), &model("accept")), "");
    }

    #[test]
    fn a_changed_chain_is_replaced_in_place() {
        let script = difference(&model("accept"), &model("drop"));
        assert_eq!(script, "flush chain ip pilothouse svc-1\nadd rule ip pilothouse svc-1 drop\n");
    }

    #[test]
    fn what_is_gone_is_unreferenced_before_it_is_deleted() {
        let script = difference(&model("accept"), &Model::default());
        let lines: Vec<&str> = script.lines().collect();
        assert!(lines[0].starts_with("delete element"));
        assert!(lines.last().unwrap().starts_with("delete chain"));
    }

    /// The kernel itself judges: needs root and nft; a network namespace of its own keeps the machine untouched.
    #[test]
    fn the_kernel_takes_the_table_and_its_changes() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let mut full = Model::default();
        full.chains.insert(
            "svc-1".into(),
            vec![
                "meta l4proto { tcp, udp, sctp } dnat ip to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.2 . 8080 }"
                    .into(),
            ],
        );
        full.chains.insert("masq-svc-1".into(), vec!["meta mark set meta mark or 0x4000".into(), "goto svc-1".into()]);
        full.chains.insert(
            "ext-1".into(),
            vec!["iifname cni0 goto svc-1".into(), "fib saddr type local goto masq-svc-1".into(), "goto svc-1".into()],
        );
        full.affinity.insert("aff-1".into(), 10_800);
        full.chains.insert(
            "ep-1".into(),
            vec![
                "update @aff-1 { ip saddr timeout 10800s }".into(),
                "meta l4proto { tcp, udp, sctp } dnat ip to 10.244.0.2:8080".into(),
            ],
        );
        full.chains.insert(
            "svc-2".into(),
            vec!["ip saddr @aff-1 goto ep-1".into(), "numgen random mod 1 vmap { 0 : goto ep-1 }".into()],
        );
        for (set, key, value) in [
            ("service-ips", "10.96.0.1 . tcp . 443", "goto svc-1"),
            ("service-ips", "10.96.0.2 . udp . 53", "goto svc-2"),
            ("external-ips", "192.0.2.9 . tcp . 80", "goto masq-svc-1"),
            ("node-ports", "tcp . 30080", "goto ext-1"),
            ("host-ports", "tcp . 8080", "goto svc-1"),
            ("no-endpoint-ips", "10.96.0.9 . tcp . 80", "goto refused"),
            ("no-endpoint-node-ports", "tcp . 30081", "drop"),
            ("pod-networks", "10.244.0.0/24", ""),
            ("hairpin", "10.244.0.2 . 10.244.0.2", ""),
            ("cluster-ips", "10.96.0.1 . tcp . 443", ""),
        ] {
            full.elements.insert((set, key.to_owned()), value.to_owned());
        }
        let scripts =
            [whole(&full), difference(&full, &model("accept")), difference(&model("accept"), &full), whole(&full)];
        let files: Vec<String> = scripts
            .iter()
            .map(|script| {
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), script).unwrap();
                file.into_temp_path().keep().unwrap().display().to_string()
            })
            .collect();
        let steps: Vec<String> = files.iter().map(|file| format!("nft -f {file}")).collect();
        let output =
            std::process::Command::new("unshare").args(["--net", "sh", "-ec", &steps.join("\n")]).output().unwrap();
        for file in files {
            let _ = std::fs::remove_file(file);
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
