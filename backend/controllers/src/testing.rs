//! What the unit tests share.

use kube::Client;
use kube::client::Body;

/// A client whose every request fails: for code that must not call.
pub fn dead_client() -> Client {
    let service = tower::service_fn(|_request: http::Request<Body>| async {
        Err::<http::Response<Body>, _>(std::io::Error::other("no API in this test"))
    });
    Client::new(service, "default")
}
