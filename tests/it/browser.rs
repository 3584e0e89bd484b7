//! The same story as kubectl's, told in the dashboard.

use pilothouse_e2e::browser::Browser;
use pilothouse_e2e::{Cluster, eventually};

async fn log_in(cluster: &Cluster) -> Browser {
    let browser = Browser::start().await;
    browser.goto(&cluster.url()).await;
    browser.fill("login-username", "admin").await;
    browser.fill("login-password", &cluster.password()).await;
    browser.screenshot("login").await;
    browser.click("login-submit").await;
    browser
}

#[tokio::test]
async fn a_wrong_password_is_refused_in_words() {
    let cluster = Cluster::get();
    let browser = Browser::start().await;
    browser.goto(&cluster.url()).await;
    browser.fill("login-username", "admin").await;
    browser.fill("login-password", "not-the-password").await;
    browser.click("login-submit").await;
    browser.until("the refusal", |text| text.to_lowercase().contains("password")).await;
    let _ = eventually("still not logged in", || {
        let (code, body) = cluster.anonymous(&[], "/auth/session");
        if code == 401 { Ok(()) } else { Err(body) }
    });
    browser.close().await;
}

#[tokio::test]
async fn the_overview_shows_the_cluster() {
    let cluster = Cluster::get();
    let browser = log_in(&cluster).await;
    browser.until("the nodes", |text| ["node-1", "node-2", "node-3"].iter().all(|node| text.contains(node))).await;
    browser.screenshot("overview").await;
    browser.close().await;
}
