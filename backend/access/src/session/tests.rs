use super::*;
use crate::testing::Objects;

/// Small parameters: the tests are about the logic.
fn quick_hash(password: &str) -> String {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let argon = argon2::Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        argon2::Params::new(64, 1, 1, None).unwrap(),
    );
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).unwrap();
    argon.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn user(name: &str, uid: &str) -> Value {
    let mut user = user_object(name, "Jane", &["team-a"]);
    user["metadata"]["uid"] = json!(uid);
    user
}

fn cluster() -> Objects {
    Objects::with(&[(USERS, user("jane", "u1")), ("secrets", password_secret("jane", &quick_hash("right")))])
}

fn sessions() -> Sessions {
    Sessions::new([7; 32])
}

fn login(sessions: &Sessions, cluster: &Objects) -> (Session, String) {
    let login = sessions.login(cluster, "jane", "right", None, now()).unwrap();
    let value = login.set_cookie.strip_prefix("pilothouse-session=").unwrap().split(';').next().unwrap();
    (login.session, value.to_owned())
}

#[test]
fn a_login_makes_a_session() {
    let (sessions, cluster) = (sessions(), cluster());
    let (session, cookie) = login(&sessions, &cluster);
    assert_eq!(session.user.name, "jane");
    assert_eq!(session.user.groups, ["team-a", "system:authenticated"]);
    let again = sessions.check(&cluster, &cookie, now()).unwrap();
    assert_eq!(again.csrf_token, session.csrf_token);
    assert_eq!(again.user, session.user);
    let set = sessions.login(&cluster, "jane", "right", None, now()).unwrap().set_cookie;
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(attribute), "{set}");
    }
}

#[test]
fn wrong_pairs_are_all_alike() {
    let (sessions, cluster) = (sessions(), cluster());
    let mut answers = Vec::new();
    for (name, password) in [("jane", "wrong"), ("jane", ""), ("nobody", "right"), ("", ""), ("system:admin", "x")] {
        answers.push(sessions.login(&cluster, name, password, None, now()).unwrap_err());
    }
    assert!(answers.iter().all(|a| a.code == 401 && *a == answers[0]));
}

#[test]
fn too_many_failures_are_429() {
    let (sessions, cluster) = (sessions(), cluster());
    for _ in 0..10 {
        assert_eq!(sessions.login(&cluster, "jane", "wrong", None, now()).unwrap_err().code, 401);
    }
    let blocked = sessions.login(&cluster, "jane", "right", None, now()).unwrap_err();
    assert_eq!(blocked.code, 429);
    assert!(blocked.details.unwrap().retry_after_seconds > 0);
    assert!(sessions.login(&cluster, "jane", "right", None, now() + Duration::from_secs(301)).is_ok());
}

#[test]
fn sessions_end() {
    type Change = fn(&Objects);
    let cases: &[(&str, Change)] = &[
        ("password changed", |c| c.put("secrets", password_secret("jane", &quick_hash("right")))),
        ("disabled", |c| {
            let mut jane = user("jane", "u1");
            jane["spec"]["disabled"] = json!(true);
            c.put(USERS, jane);
        }),
        ("deleted", |c| c.remove(USERS, "", "jane")),
        ("being deleted", |c| {
            let mut jane = user("jane", "u1");
            jane["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
            c.put(USERS, jane);
        }),
        ("made anew", |c| c.put(USERS, user("jane", "u2"))),
        ("password removed", |c| c.remove("secrets", "kube-system", "pilothouse-user-jane")),
    ];
    for (name, change) in cases {
        let (sessions, cluster) = (sessions(), cluster());
        let (_, cookie) = login(&sessions, &cluster);
        change(&cluster);
        assert_eq!(sessions.check(&cluster, &cookie, now()).unwrap_err().code, 401, "{name}");
    }
    let (sessions, cluster) = (sessions(), cluster());
    let (session, cookie) = login(&sessions, &cluster);
    assert!(sessions.check(&cluster, &cookie, session.expires - Duration::from_secs(1)).is_ok());
    assert!(sessions.check(&cluster, &cookie, session.expires).is_err());
}

#[test]
fn group_changes_reach_live_sessions() {
    let (sessions, cluster) = (sessions(), cluster());
    let (_, cookie) = login(&sessions, &cluster);
    let mut jane = user("jane", "u1");
    jane["spec"]["groups"] = json!(["team-b"]);
    cluster.put(USERS, jane);
    assert!(sessions.check(&cluster, &cookie, now()).unwrap().user.in_group("team-b"));
}

#[test]
fn forged_cookies_are_refused() {
    let (sessions, cluster) = (sessions(), cluster());
    let (_, cookie) = login(&sessions, &cluster);
    let foreign = login(&Sessions::new([8; 32]), &cluster).1;
    let mut flipped = cookie.clone().into_bytes();
    flipped[60] = if flipped[60] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for bad in ["", "x", &foreign, &flipped, &cookie[..cookie.len() - 4], &"A".repeat(5000)] {
        assert!(sessions.check(&cluster, bad, now()).is_err());
    }
}

#[test]
fn changes_need_the_csrf_token_and_streams_the_origin() {
    let (sessions, cluster) = (sessions(), cluster());
    let (session, _) = login(&sessions, &cluster);
    let token = session.csrf_token.clone();
    let host = ("host", "box:6443");
    let cases: &[(Method, &[(&str, &str)], bool)] = &[
        (Method::GET, &[], true),
        (Method::POST, &[], false),
        (Method::DELETE, &[("x-pilothouse-csrf", "wrong")], false),
        (Method::POST, &[("x-pilothouse-csrf", &token)], true),
        (Method::PATCH, &[("x-pilothouse-csrf", &token)], true),
        (Method::GET, &[host, ("upgrade", "websocket"), ("origin", "https://box:6443")], true),
        (Method::GET, &[host, ("upgrade", "websocket"), ("origin", "https://evil:6443")], false),
        (Method::GET, &[host, ("upgrade", "websocket"), ("origin", "http://box:6443")], false),
        (Method::GET, &[host, ("upgrade", "websocket")], false),
        (Method::CONNECT, &[("origin", "https://")], false),
    ];
    for (method, given, good) in cases {
        let mut headers = HeaderMap::new();
        for (name, value) in *given {
            headers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        assert_eq!(check_origin(method, &headers, &session).is_ok(), *good, "{method} {given:?}");
    }
}

#[test]
fn real_hashes_verify_and_greedy_ones_are_refused() {
    let hash = hash_password("secret").unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert!(password::verify(Some(&hash), "secret"));
    assert!(!password::verify(Some(&hash), "Secret"));
    assert!(!password::verify(Some(&hash.replace("m=19456", "m=99999999")), "secret"));
    assert!(!password::verify(Some("plain"), "plain"));
    assert_ne!(random_password(), random_password());
    assert_eq!(random_password().len(), 20);
}
