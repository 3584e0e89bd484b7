//! The same story as kubectl's, told in the dashboard.

use pilothouse_e2e::browser::Browser;
use pilothouse_e2e::{Cluster, Namespace, eventually, name};

/// The first load in brotli, as it goes over the wire.
const MAX_FIRST_LOAD: usize = 450 * 1024;

async fn log_in(cluster: &Cluster) -> Browser {
    let browser = Browser::start().await;
    browser.goto(&cluster.url()).await;
    browser.fill("login-username", "admin").await;
    browser.fill("login-password", &cluster.password()).await;
    browser.screenshot("login").await;
    browser.click("login-submit").await;
    browser.find("user-menu").await;
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
    browser.until_said("login-error", "the refusal", |text| text.contains("password is wrong")).await;
    browser.screenshot("login-refused").await;
    assert_eq!(cluster.anonymous(&[], "/auth/session").0, 401);
    browser.close().await;
}

#[tokio::test]
async fn the_overview_shows_the_cluster() {
    let cluster = Cluster::get();
    let browser = log_in(&cluster).await;
    browser
        .until_said("overview-nodes", "the nodes with what is free", |text| {
            ["node-1", "node-2", "node-3"].iter().all(|node| text.contains(node)) && text.matches(" free").count() == 9
        })
        .await;
    browser
        .until_said("overview-addons", "cluster DNS", |text| {
            text.contains("on 3 of 3 nodes") && text.contains("Available")
        })
        .await;
    browser.until_said("connection", "live", |text| text == "live").await;
    browser.screenshot("overview").await;
    // The same in a narrow window: nothing sticks out sideways.
    browser.resize(420, 860).await;
    let wide = "const m = document.getElementById('main'); return Math.max(m.scrollWidth - m.clientWidth, document.documentElement.scrollWidth - innerWidth)";
    assert_eq!(browser.client.execute(wide, vec![]).await.unwrap().as_i64(), Some(0));
    browser.screenshot("overview-narrow").await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    browser.close().await;
}

/// Everything that the first paint needs, each as a browser asks for it.
#[test]
fn the_first_load_is_small_and_its_policy_strict() {
    let cluster = Cluster::get();
    let (code, head) = cluster.anonymous(&["-D", "-", "-o", "/dev/null"], "/ui");
    assert_eq!(code, 200);
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).expect("a policy");
    assert!(policy.contains("default-src 'self'; script-src 'self' 'wasm-unsafe-eval';"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("'unsafe-eval'"), "{policy}");
    let (_, page) = cluster.anonymous(&[], "/ui");
    let assets: Vec<&str> = page.split('"').filter(|part| part.starts_with("/ui/assets/")).collect();
    assert_eq!(assets.len(), 5, "wasm, start, theme, style, icon: {assets:?}");
    let size = |path: &str| {
        let asked = ["-H", "Accept-Encoding: br", "-D", "-", "-o", "/dev/null", "-w", "%{size_download}\n%{http_code}"];
        let (code, answer) = cluster.anonymous(&asked, path);
        assert!(code == 200 && answer.contains("content-encoding: br"), "{path}: {answer}");
        answer.lines().last().unwrap().parse::<usize>().unwrap()
    };
    let total: usize = std::iter::once("/ui").chain(assets).map(size).sum();
    println!("first load: {:.1} KB in brotli", total as f64 / 1024.0);
    assert!(total <= MAX_FIRST_LOAD, "{total} bytes");
}

/// Fills in the form for three replicas of the demo app; what is wrong is said where it is wrong.
async fn deploy(browser: &Browser, space: &Namespace<'_>) {
    browser.click("nav-deploy").await;
    browser.fill("deploy-image", "pilothouse.local/demo:1").await;
    browser.fill("deploy-name", "Web_1").await;
    browser.fill("deploy-namespace", &space.name).await;
    browser.fill("deploy-replicas", "-3").await;
    browser.click("deploy-submit").await;
    browser
        .until("causes at their inputs", |text| {
            text.contains("RFC 1123") && text.contains("greater than or equal to 0")
        })
        .await;
    browser.screenshot("deploy-refused").await;
    // The browser itself notes the refusal of the rehearsal, and nothing else.
    let noted = browser.console_errors().await;
    assert!(noted.iter().all(|line| line.contains("422")), "{noted:?}");
    assert!(space.json("get deployments")["items"].as_array().unwrap().is_empty());

    browser.fill("deploy-name", "web").await;
    browser
        .until("the mark of what was changed gone, the other not", |text| {
            !text.contains("RFC 1123") && text.contains("greater than or equal to 0")
        })
        .await;
    browser.fill("deploy-replicas", "3").await;
    browser.click("deploy-expose-nodeport").await;
    browser.click("deploy-env-add").await;
    browser.fill("deploy-env-name-0", "GREETING").await;
    browser.fill("deploy-env-value-0", "hello").await;
    browser
        .until_said("deploy-yaml", "the objects", |text| {
            text.contains("replicas: 3") && text.contains("value: hello") && text.contains("type: NodePort")
        })
        .await;
    browser
        .client
        .execute("document.querySelector(\"[data-testid='deploy-yaml'] details\").open = true", vec![])
        .await
        .unwrap();
    let call = format!("POST /apis/apps/v1/namespaces/{}/deployments", space.name);
    browser
        .until_said("deploy-yaml", "the API call", |text| text.contains(&call) && text.contains("kubectl create -f -"))
        .await;
    browser.screenshot("deploy").await;
    browser.click("deploy-submit").await;
}

async fn open(browser: &Browser, cluster: &Cluster, path: &str) {
    browser.goto(&format!("{}/ui/r/{path}", cluster.url())).await;
}

/// Waits until the Deployment is well, and returns its pods as the page lists them.
async fn healthy(browser: &Browser, count: usize) -> Vec<String> {
    let figures = format!("{count}\ndesired\n{count}\nof this version\n{count}\navailable\n0\nof older versions");
    browser.until_said("rollout-progress", &figures, |text| text.contains(&figures)).await;
    browser.until_said("health", "healthy", |text| text == "Healthy").await;
    browser.until_rows(&format!("{count} pods"), |rows| rows.len() == count).await
}

#[tokio::test]
async fn an_app_is_deployed_scaled_updated_rolled_back_and_healed() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-dashboard");
    let page = format!("deployments.apps/{}/web/", space.name);
    let browser = log_in(&cluster).await;

    deploy(&browser, &space).await;
    // The page of the new Deployment: pods get ready in front of one's eyes.
    browser.until_said("page-title", "the new app", |text| text.starts_with("web")).await;
    browser.until_rows("three pods", |rows| rows.len() == 3).await;
    browser.screenshot("deploying").await;
    healthy(&browser, 3).await;
    let deployment = space.json("get deployment web");
    assert_eq!(deployment["status"]["readyReplicas"], 3);
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "hello");
    let port = space.json("get service web")["spec"]["ports"][0]["nodePort"].to_string();
    browser.until_said("services", "its Service", |text| text.contains("NodePort") && text.contains(&port)).await;
    browser.screenshot("deployed").await;

    // A second Service.
    browser.click("expose-open").await;
    browser.fill("expose-service", "web-again").await;
    browser.fill("expose-port-0", "80").await;
    browser.click("expose-submit").await;
    browser
        .until_said("services", "the second Service", |text| text.contains("web-again") && text.contains("80 → 8080"))
        .await;
    assert_eq!(space.json("get service web-again")["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]);

    // Scale.
    browser.click("scale-open").await;
    browser.fill("scale-input", "4").await;
    browser.screenshot("scale").await;
    browser.click("scale-submit").await;
    healthy(&browser, 4).await;

    // Another version by an edit of the YAML.
    browser.click("tab-yaml").await;
    browser.click("yaml-edit").await;
    browser.css(".cm-content[contenteditable='true']").await.click().await.unwrap();
    browser.keys(&ctrl('f')).await;
    browser.fill_css(".cm-search input[name='search']", "pilothouse.local/demo:1").await;
    browser.fill_css(".cm-search input[name='replace']", "pilothouse.local/demo:2").await;
    browser.css(".cm-search button[name='replaceAll']").await.click().await.unwrap();
    browser.click("yaml-review").await;
    browser.until_said("diff", "the difference", |text| text.contains("demo:1") && text.contains("demo:2")).await;
    browser.screenshot("yaml-review").await;
    browser.click("yaml-save").await;
    browser.find("yaml-edit").await;
    browser.click("tab-summary").await;
    browser.screenshot("rolling-out").await;
    eventually("version 2 is asked for", || {
        let image = space.json("get deployment web")["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        if image == "pilothouse.local/demo:2" { Ok(()) } else { Err(image.to_string()) }
    });
    healthy(&browser, 4).await;
    for pod in space.wait_pods("app.kubernetes.io/name=web", 4) {
        assert_eq!(pod["spec"]["containers"][0]["image"], "pilothouse.local/demo:2");
    }

    // And back.
    browser.click("tab-revisions").await;
    browser.screenshot("revisions").await;
    browser.click("rollback-1").await;
    browser.until_said("diff", "what changes", |text| text.contains("demo:1") && text.contains("demo:2")).await;
    browser.screenshot("rollback").await;
    browser.click("rollback-confirm").await;
    browser
        .until("revision 3 is the present one", |text| text.contains("3current") || text.contains("3\ncurrent"))
        .await;
    browser.click("tab-summary").await;
    let pods = healthy(&browser, 4).await;
    for pod in space.wait_pods("app.kubernetes.io/name=web", 4) {
        assert_eq!(pod["spec"]["containers"][0]["image"], "pilothouse.local/demo:1");
    }

    // A deleted pod is replaced.
    let victim = pods[0].clone();
    browser.css(&format!("[data-name='{victim}'] a")).await.click().await.unwrap();
    browser.until_said("page-title", "the pod", |text| text.contains(&victim)).await;
    browser.click("delete").await;
    browser.click("delete-confirm").await;
    browser.until_said("health", "the pod is gone", |text| text == "Deleted").await;
    browser.screenshot("pod-deleted").await;
    browser.client.back().await.unwrap();
    let pods = healthy(&browser, 4).await;
    assert!(!pods.contains(&victim), "{victim} is among {pods:?}");

    look_inside(&browser, &space, &pods[0]).await;

    // A restart replaces every pod.
    open(&browser, &cluster, &page).await;
    let before = healthy(&browser, 4).await;
    browser.click("restart").await;
    browser.click("restart-confirm").await;
    browser
        .until_rows("none of the old pods", |rows| rows.len() == 4 && !rows.iter().any(|row| before.contains(row)))
        .await;
    healthy(&browser, 4).await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());

    // Delete, with what belongs to it.
    browser.click("delete").await;
    browser.until("what goes along", |text| text.contains("This goes along") && text.contains("4 pods")).await;
    browser.screenshot("delete").await;
    browser.click("delete-confirm").await;
    browser.until_said("page-title", "the list", |text| text == "Deployments").await;
    browser.fill("filter", &format!("namespace:{}", space.name)).await;
    browser.until_rows("the app is gone", <[String]>::is_empty).await;
    space.wait_pods("app.kubernetes.io/name=web", 0);
    browser.close().await;
    space.delete();
}

fn ctrl(key: char) -> String {
    use fantoccini::key::Key;
    Key::Control + &key.to_string() + &Key::Null.to_string()
}

/// Logs that follow and a shell, in one pod.
async fn look_inside(browser: &Browser, space: &Namespace<'_>, pod: &str) {
    browser.css(&format!("[data-name='{pod}'] a")).await.click().await.unwrap();
    browser.until_said("page-title", "the pod", |text| text.contains(pod)).await;
    browser.screenshot("pod").await;
    browser.click("tab-logs").await;
    browser.until_said("logs-text", "the first line", |text| text.contains("demo 1 listens on 8080")).await;
    space.exec(pod, "wget -qO- http://127.0.0.1:8080/seen-in-the-log || true");
    browser.until_said("logs-text", "a line of now", |text| text.contains("/seen-in-the-log")).await;
    browser.screenshot("logs").await;

    browser.click("tab-terminal").await;
    browser.until_said("terminal-state", "a shell", |text| text.contains("Connected")).await;
    browser.css(".xterm-helper-textarea").await.send_keys("echo $((6 * 7)) on $(hostname)\n").await.unwrap();
    let answer = format!("42 on {pod}");
    browser.until("the shell's answer", |text| text.contains(&answer)).await;
    browser.screenshot("terminal").await;
}

#[tokio::test]
async fn a_lost_connection_is_shown_and_heals() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-reconnect");
    let browser = log_in(&cluster).await;
    open(&browser, &cluster, "configmaps/").await;
    browser.until_rows("the list", |rows| rows.contains(&"kube-root-ca.crt".to_owned())).await;
    browser.until_said("connection", "live", |text| text == "live").await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());

    // The supervisor is quick: keep the server down until the page has said so.
    let shown = "const e = document.querySelector(\"[data-testid='connection']\"); return e && e.innerText.includes('reconnecting')";
    while browser.client.execute(shown, vec![]).await.unwrap() != true {
        cluster.kill9("server");
    }
    browser.screenshot("connection-lost").await;
    assert!(browser.rows().await.contains(&"kube-root-ca.crt".to_owned()), "what was known stays in sight");

    cluster.wait_ready();
    space.kubectl("create configmap after-the-fault");
    browser
        .until_rows("what happened since, without a reload", |rows| rows.contains(&"after-the-fault".to_owned()))
        .await;
    browser.until_said("connection", "live again", |text| text == "live").await;
    browser.screenshot("connection-healed").await;
    browser.close().await;
    assert_eq!(name(&space.json("get configmap after-the-fault")), "after-the-fault");
    space.delete();
}
