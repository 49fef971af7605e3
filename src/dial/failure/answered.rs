//! Words for an HTTP answer that is no WebSocket. The texts of an answer are cleaned and short.

use tokio_tungstenite::tungstenite::http::StatusCode;

use crate::dial::client_auth::ClientCertificateRefused;
use crate::dial::upgrade::Answer;

/// Words for an answer with this status and page.
pub(super) fn words(answer: &Answer) -> String {
    let seen = seen(answer);
    match answer.status.as_u16() {
        200..=299 => format!(
            "a page answered in place of the dashboard ({seen}); if this network wants a login first, sign in with a \
             browser, else check host, port and path of NIXFLEET_URL, the path is usually /ws"
        ),
        400 if wants_tls(answer) => format!(
            "what listens there speaks TLS where HTTP was expected ({seen}); if NIXFLEET_URL begins with ws://, write \
             wss://"
        ),
        400 => format!(
            "the dashboard, or a proxy in front of it, did not understand the request ({seen}); let the proxy pass \
             the headers Upgrade, Connection and Host on, and look at its log"
        ),
        407 => format!(
            "a proxy on the way asks for a login ({seen}); set proxy and proxy_login_file, or let connections to the \
             dashboard pass without one"
        ),
        421 => format!(
            "the server at this address serves no dashboard of this name ({seen}); check the host in NIXFLEET_URL, and \
             the names that the dashboard or the proxy in front of it is set up for"
        ),
        426 => format!(
            "the upgrade to a WebSocket did not reach the dashboard ({seen}); let the proxy in front of it speak \
             HTTP/1.1 and pass the headers Upgrade and Connection on"
        ),
        502 | 504 => format!(
            "a proxy answered, and the dashboard behind it is down or does not answer ({seen}); start the dashboard, \
             and look at the log of the proxy"
        ),
        500..=599 => format!("the dashboard failed ({seen}); look at the log of the dashboard"),
        _ => format!(
            "the dashboard answered {seen} instead of a WebSocket; check the path of the URL, usually /ws"
        ),
    }
}

/// What an answer says about the client certificate, if it is about that.
pub(super) fn client_certificate(answer: &Answer) -> Option<ClientCertificateRefused> {
    ClientCertificateRefused::of_page(answer.page.as_deref()?, seen(answer))
}

/// Words for 429 and 503.
pub(super) fn busy(status: StatusCode) -> String {
    let fix = match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            "if it stays so, a proxy answers and the dashboard behind it is down: start it"
        }
        _ => "if it stays so, look at the limits of the dashboard and of the proxy in front of it",
    };
    format!("the dashboard asks for patience ({status}); {fix}")
}

/// Whether a server says in its page that it expected TLS: nginx and Apache do, each in its own words.
fn wants_tls(answer: &Answer) -> bool {
    let page = answer.page.as_deref().unwrap_or_default();
    page.contains("HTTP request was sent to HTTPS port") || page.contains("speaking plain HTTP to an SSL")
}

/// The status, the title of the page and the program that answered, as far as there are any.
fn seen(answer: &Answer) -> String {
    let mut seen = answer.status.to_string();
    if let Some(page) = &answer.page {
        seen.push_str(&format!(", \"{}\"", page.replace("; ", ", ")));
    }
    if let Some(server) = &answer.server {
        seen.push_str(&format!(", from {}", server.replace("; ", ", ")));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        Answer::bare(StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn each_status_has_its_words() {
        for (status, words) in [
            (200, "a page answered in place of the dashboard (200 OK); if this network wants a login first"),
            (204, "a page answered"),
            (303, "answered 303 See Other instead of a WebSocket; check the path"),
            (400, "did not understand the request (400 Bad Request); let the proxy pass"),
            (404, "answered 404 Not Found instead of a WebSocket; check the path of the URL, usually /ws"),
            (407, "asks for a login (407 Proxy Authentication Required); set proxy and proxy_login_file"),
            (421, "no dashboard of this name (421 Misdirected Request); check the host"),
            (426, "did not reach the dashboard (426 Upgrade Required); let the proxy"),
            (500, "the dashboard failed (500 Internal Server Error); look"),
            (502, "is down or does not answer (502 Bad Gateway); start"),
            (504, "is down or does not answer (504 Gateway Timeout); start"),
            (799, "answered 799 <unknown status code> instead"),
        ] {
            let text = super::words(&answer(status));
            assert!(text.contains(words), "`{words}` is not in {text}");
            assert_eq!(text.split("; ").count(), 2, "{text}");
        }
        assert!(busy(StatusCode::SERVICE_UNAVAILABLE).contains("the dashboard behind it is down"));
        assert!(
            busy(StatusCode::TOO_MANY_REQUESTS).contains("(429 Too Many Requests); if it stays so, look")
        );
    }

    #[test]
    fn title_and_server_are_quoted_and_do_not_look_like_the_advice() {
        let portal = Answer {
            page: Some("Guest WLAN; please sign in".to_owned()),
            server: Some("gate/1.0".to_owned()),
            ..answer(200)
        };
        let text = super::words(&portal);
        assert!(text.contains("(200 OK, \"Guest WLAN, please sign in\", from gate/1.0); if"), "{text}");
        let https = Answer {
            page: Some("400 The plain HTTP request was sent to HTTPS port".to_owned()),
            ..answer(400)
        };
        let text = super::words(&https);
        assert!(client_certificate(&https).is_none());
        for (page, words) in [
            (
                "400 No required SSL certificate was sent",
                "asks for a client certificate (400 Bad Request, \"400 No",
            ),
            (
                "400 The SSL certificate error",
                "refused this host's client certificate (400 Bad Request, \"400 The",
            ),
        ] {
            let of_nginx = Answer { page: Some(page.to_owned()), ..answer(400) };
            let text = client_certificate(&of_nginx).unwrap().to_string();
            assert!(text.contains(words), "{text}");
        }
        assert!(text.contains("speaks TLS") && text.ends_with("write wss://"), "{text}");
    }
}
