//! Clients for the REST API: the shop's backend, and a person's browser.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::listener::Listener;
use crate::socket::Socket;

/// Makes calls, all with the same headers.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    http: reqwest::Client,
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; null when it is none.
    pub body: Value,
    call: String,
}

/// The shop's backend, with an API key.
#[derive(Debug, Clone)]
pub struct Shop {
    api: Api,
}

/// A person's browser, with a token.
#[derive(Debug, Clone)]
pub struct Person {
    /// The shop's id of the person.
    pub id: String,
    /// The token.
    pub token: String,
    /// Where the socket is, as the API said.
    pub websocket_url: String,
    api: Api,
}

impl Api {
    /// A client without credentials.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: &str) -> Result<Self> {
        Self::with_source(base, None)
    }

    /// A client that calls from one of this machine's addresses.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn with_source(base: &str, source: Option<IpAddr>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .local_address(source)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60))
            .build()?;
        Ok(Self { base: base.trim_end_matches('/').into(), http, headers: Vec::new() })
    }

    /// The same with one more header on every call.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        changed.headers.push((name.into(), value.into()));
        changed
    }

    /// The same with a bearer token on every call.
    #[must_use]
    pub fn with_bearer(&self, token: &str) -> Self {
        self.with("Authorization", &format!("Bearer {token}"))
    }

    /// The same against another address, for instance nginx's.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').into(), ..self.clone() }
    }

    /// A call that is not sent yet.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends a call.
    ///
    /// # Errors
    /// When no whole answer comes; any status is an answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let request = request.build()?;
        let call = format!("{} {}", request.method(), request.url());
        let response = self.http.execute(request).await.with_context(|| call.clone())?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.with_context(|| call.clone())?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, text, body, call })
    }

    /// `GET`.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// `PUT` with a JSON body.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn put(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    /// `PATCH` with a JSON body.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn patch(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Posts a message; returns it.
    ///
    /// # Errors
    /// When it is not answered with 201.
    pub async fn say(&self, thread: i64, text: &str) -> Result<Value> {
        let path = format!("/v1/threads/{thread}/messages");
        self.post(&path, json!({"text": text})).await?.expect(201)
    }

    /// The browser of somebody without an account, who is new; `said` is what it says of itself.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn visitor(&self, said: Value) -> Result<Person> {
        let answer = self.post("/v1/widget/sessions", said).await?.expect(201)?;
        Person::visiting(self, &answer)
    }

    /// The last event id that this caller could have heard: the cursor of a feed that starts now.
    ///
    /// # Errors
    /// When it is not answered with 200.
    pub async fn now(&self) -> Result<i64> {
        let page = self.get("/v1/events").await?.expect(200)?;
        cursor(&page)
    }

    /// The whole feed after an event, page by page.
    ///
    /// # Errors
    /// When a page is not answered with 200.
    pub async fn feed(&self, after: i64) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut after = after;
        loop {
            let path = format!("/v1/events?after={after}&limit=100");
            let page = self.get(&path).await?.expect(200)?;
            let events = page["events"].as_array().context("no events")?;
            if events.is_empty() {
                return Ok(all);
            }
            all.extend(events.iter().cloned());
            let next = cursor(&page)?;
            ensure!(next > after, "the feed's cursor stands still at {after}");
            after = next;
        }
    }
}

/// `next_cursor` of a page of events, which is an event id.
pub(crate) fn cursor(page: &Value) -> Result<i64> {
    let cursor = &page["next_cursor"];
    let text = || cursor.as_str()?.parse().ok();
    cursor.as_i64().or_else(text).with_context(|| format!("no next_cursor: {page}"))
}

impl Answer {
    /// The body, when the status is the one expected.
    ///
    /// # Errors
    /// With the whole answer, when it is another.
    pub fn expect(self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "expected {status}: {self}");
        Ok(self.body)
    }

    /// Checks that it is a problem document of this status and code; returns it.
    ///
    /// # Errors
    /// With the whole answer, when it is not.
    pub fn refused(self, status: u16, code: &str) -> Result<Value> {
        ensure!(
            self.status == status && self.body["code"] == code,
            "expected {status} {code}: {self}"
        );
        let kind = self.header("content-type").unwrap_or_default();
        ensure!(kind.starts_with("application/problem+json"), "no problem document: {self}");
        for member in ["type", "title", "detail", "code", "request_id"] {
            ensure!(self.body[member].is_string(), "the problem has no `{member}`: {self}");
        }
        ensure!(self.body["status"] == status, "the problem has another status: {self}");
        Ok(self.body)
    }

    /// One header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered {} {}", self.call, self.status, self.text)
    }
}

impl Shop {
    /// The backend that has this key.
    #[must_use]
    pub fn new(api: &Api, key: &str) -> Self {
        Self { api: api.with_bearer(key) }
    }

    /// The calls of the backend as one of its users.
    #[must_use]
    pub fn acting(&self, user: &str) -> Api {
        self.api.with("Chaffer-User", user)
    }

    /// Makes or replaces a user.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn user(&self, id: &str, user: Value) -> Result<Value> {
        let answer = self.put(&format!("/v1/users/{id}"), user).await?;
        if !matches!(answer.status, 200 | 201) {
            bail!("{answer}");
        }
        Ok(answer.body)
    }

    /// Makes or replaces a vendor.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn vendor(&self, id: &str, vendor: Value) -> Result<Value> {
        let answer = self.put(&format!("/v1/vendors/{id}"), vendor).await?;
        if !matches!(answer.status, 200 | 201) {
            bail!("{answer}");
        }
        Ok(answer.body)
    }

    /// A user's browser: fetches a token.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn person(&self, id: &str) -> Result<Person> {
        let answer = self.post(&format!("/v1/users/{id}/tokens"), json!({})).await?.expect(201)?;
        let text = |name: &str| {
            answer[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {answer}"))
        };
        let token = text("token")?;
        let mut api = self.api.with_bearer(&token);
        api.headers.retain(|(name, _)| name == "Authorization");
        Ok(Person { id: id.into(), websocket_url: text("websocket_url")?, token, api })
    }

    /// Makes a user and gives back its browser.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn new_person(&self, id: &str, user: Value) -> Result<Person> {
        self.user(id, user).await?;
        self.person(id).await
    }
}

impl Person {
    /// The browser of the visitor whose session this is.
    ///
    /// # Errors
    /// When it is no session.
    pub fn visiting(api: &Api, session: &Value) -> Result<Self> {
        let text = |name: &str| {
            let value = session[name].as_str().map(str::to_owned);
            value.with_context(|| format!("no {name}: {session}"))
        };
        let token = text("token")?;
        let api = api.with_bearer(&token);
        Ok(Self { id: text("visitor_id")?, websocket_url: text("websocket_url")?, token, api })
    }

    /// Opens a socket and says who it is.
    ///
    /// # Errors
    /// When it is not welcomed.
    pub async fn socket(&self, after: Option<i64>) -> Result<(Socket, Value)> {
        let mut socket = Socket::open(&self.websocket_url).await?;
        let welcome = socket.authenticate(&self.token, after).await?;
        Ok((socket, welcome))
    }

    /// Starts to listen, and returns once welcomed.
    ///
    /// # Errors
    /// When it is not welcomed in time.
    pub async fn listen(&self) -> Result<Listener> {
        let listener = Listener::start(self.clone(), None);
        listener.welcomed(1).await?;
        Ok(listener)
    }

    /// The person's calls.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The same person with the API somewhere else, for instance behind nginx.
    #[must_use]
    pub fn with_api(&self, base: &str) -> Self {
        Self { api: self.api.at(base), ..self.clone() }
    }

    /// The same person with the socket somewhere else, for instance behind nginx.
    #[must_use]
    pub fn with_websocket(&self, url: &str) -> Self {
        Self { websocket_url: url.into(), ..self.clone() }
    }
}

impl std::ops::Deref for Shop {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl std::ops::Deref for Person {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}
