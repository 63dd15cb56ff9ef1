//! The page: one document with its style and its script inside, which no other site may frame and which loads nothing.

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::Shared;

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
/// One script, in this order.
const SCRIPT: &str = concat!(
    include_str!("page/text.js"),
    include_str!("page/plot.js"),
    include_str!("page/app.js"),
    include_str!("page/drop.js"),
);

pub(super) async fn page(state: Shared) -> Response {
    let nonce = super::token();
    // Nothing that comes from outside of this folder is among what is put in.
    let document = DOCUMENT
        .replace("{{nonce}}", &nonce)
        .replace("{{token}}", &state.token)
        .replace("{{read_only}}", if state.read_only { "yes" } else { "no" })
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let mut response = ([(CONTENT_TYPE, "text/html; charset=utf-8")], document).into_response();
    // Hexadecimal digits and the text above are a header's characters.
    if let Ok(policy) = HeaderValue::try_from(policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
