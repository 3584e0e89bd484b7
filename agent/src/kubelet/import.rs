//! `POST /images/import`: an OCI or docker archive, handed to the node's containerd.

use std::process::Stdio;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Answer, Refusal, full, refuse};
use crate::pods::context::Context;

/// Larger archives are not images.
const MAX_BYTES: u64 = 16 << 30;
/// What of the tool's complaints is passed on.
const MAX_COMPLAINT: usize = 4096;

/// The names of images in what `ctr` prints (`unpacking NAME (sha256:...)...done`).
fn imported(output: &str) -> Vec<String> {
    let names = output.lines().filter_map(|line| line.strip_prefix("unpacking ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

pub(super) async fn answer(context: &Context, mut body: Incoming) -> Result<Answer, Refusal> {
    let internal = |error: std::io::Error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("running ctr: {error}"));
    let mut child = Command::new("ctr")
        .arg("--address")
        .arg(&context.config().cri_endpoint)
        .args(["--namespace", "k8s.io", "images", "import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(internal)?;
    let Some(mut input) = child.stdin.take() else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "ctr has no input");
    };
    let feed = async move {
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("the archive broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            total += data.len() as u64;
            if total > MAX_BYTES {
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("an archive has at most {MAX_BYTES} bytes"));
            }
            // It reads no further when it has seen enough: what it says then tells why.
            if input.write_all(&data).await.is_err() {
                break;
            }
        }
        drop(input);
        Ok(())
    };
    let (fed, output) = tokio::join!(feed, child.wait_with_output());
    fed?;
    let output = output.map_err(internal)?;
    if !output.status.success() {
        let mut text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        text.truncate((0..=MAX_COMPLAINT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        return refuse(StatusCode::BAD_REQUEST, format!("the archive was not imported: {text}"));
    }
    context.node.look.notify_one();
    let images = imported(&String::from_utf8_lossy(&output.stdout));
    Ok(full(StatusCode::OK, "application/json", json!({"images": images}).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        let output = "unpacking pilothouse.local/demo:1 (sha256:ab)...done\nsomething else\n";
        assert_eq!(imported(output), ["pilothouse.local/demo:1"]);
    }
}
