//! `/v1/attachments`: files on their way in, streamed to the disk, and on their way out, with headers that keep them inert.

use std::io::Write;
use std::time::Duration;

use actix_multipart::{Field, Multipart};
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, Header, Range};
use actix_web::web::{Path, Payload, block};
use actix_web::{HttpRequest, HttpResponse, ResponseError, get, post};
use futures_util::StreamExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::time::{Instant, timeout, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::error::Problem;
use super::extract::{Nothing, Query, Sender, context, path_number, too_large};
use super::limits::uploader;
use super::openapi::{BodyErrors, Errors};
use super::{Shared, State};
use crate::chat::attachments::{self, AttachmentView, Part, UploadLimits};
use crate::chat::{FieldError, Refusal};
use crate::files::places::Full;
use crate::files::{FileError, Files, Prepared};
use crate::store::{Attachment, Id, NewAttachment, Store};

/// How long nothing may come of an upload, and how long all of it may take: a large file over a slow line. The slowest line
/// that is waited for brings a kilobyte a second.
const SILENCE: Duration = Duration::from_secs(30);
const LEAST_RATE: u64 = 1024;
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(900);
/// When to come back while pictures of others are worked on, in seconds: it is worth as much as a large one takes.
const AFTER_PICTURES: u64 = 10;

/// A file, in the form that browsers send.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) struct UploadForm {
    /// The file, with its name.
    #[schema(value_type = String, format = Binary, example = "the bytes of mug.jpg")]
    file: Vec<u8>,
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Refused(refusal) => refusal.into(),
            FileError::Busy => Problem {
                retry_after: Some(AFTER_PICTURES),
                ..Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too_many_uploads_at_once",
                    "Many pictures are worked on at the moment; try again.",
                )
            },
            FileError::Failed(error) => unavailable(&error),
        }
    }
}

pub(super) fn unavailable(error: &std::io::Error) -> Problem {
    tracing::error!(%error, "the storage for files failed");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "files_unavailable",
        "The storage for files cannot be reached at the moment; try again.",
    )
}

/// Takes a file in, for a message that is sent later with its id in `attachment_ids`. What it is, its content decides; pictures are written
/// anew, without where and by whom they were taken. Uploads that are not sent are removed after a day.
#[utoipa::path(
    tag = "messages",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    params(super::ActingUser),
    responses((status = 201, body = AttachmentView, description = "Taken"), Errors, BodyErrors),
)]
#[post("/v1/attachments")]
pub(super) async fn upload_attachment(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let uploader = uploader(&request, &sender.0);
    let limits = state.store.read(move |reader| attachments::may_upload(reader, &sender.0)).await?;
    let uploader = uploader.unwrap_or_else(|| limits.owner.clone());
    let _place = state.files.places.take(uploader).map_err(busy)?;
    let (name, upload) = receive(&state, &request, payload, &limits).await?;
    let prepared = state.files.prepare(upload, &name, limits.images_only).await?;
    let context = context(&request);
    let new = noted(&prepared, limits.owner, context.now.naive_utc());
    let note = new.clone();
    let (attachment, view) =
        state.store.write(move |writer| attachments::note(writer, &context, &note)).await?;
    keep(&state.store, &state.files, &prepared, attachment.id, new).await?;
    Ok(HttpResponse::Created().json(view))
}

/// Keeps the bytes of an upload that was noted. What was given up meanwhile, or could not be kept, leaves none behind.
async fn keep(
    store: &Store,
    files: &Files,
    prepared: &Prepared,
    upload: Id,
    new: NewAttachment,
) -> Result<(), Problem> {
    let kept = files.keep(prepared).await;
    if kept.is_ok() && store.read(move |reader| attachments::is_wanted(reader, upload)).await? {
        return Ok(());
    }
    let now = chaffer_shared::time::now().naive_utc();
    store.write(move |writer| attachments::give_up(writer, upload, &new, now)).await?;
    files.sweep();
    match kept {
        Ok(()) => Err(Refusal::UserErased.into()),
        Err(error) => Err(unavailable(&error)),
    }
}

fn noted(prepared: &Prepared, owner: String, now: crate::store::Timestamp) -> NewAttachment {
    let pixels = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    NewAttachment {
        owner_id: owner,
        name: prepared.name.clone(),
        size: i64::try_from(prepared.size).unwrap_or(i64::MAX),
        mime_type: prepared.mime_type.to_owned(),
        width: prepared.dimensions.map(|it| pixels(it.0)),
        height: prepared.dimensions.map(|it| pixels(it.1)),
        file: prepared.key.clone(),
        thumbnail: prepared.thumbnail_key.clone(),
        secret: hex::encode(rand::random::<[u8; 16]>()),
        created_at: now,
    }
}

fn busy(full: Full) -> Problem {
    let (status, detail) = match full {
        Full::Own => (
            StatusCode::TOO_MANY_REQUESTS,
            "Many files of yours are being taken in at the moment; try again when some have arrived.",
        ),
        Full::All => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Many files are being taken in at the moment; try again.",
        ),
    };
    let problem = Problem::new(status, "too_many_uploads_at_once", detail);
    Problem { retry_after: Some(1), ..problem }
}

fn too_slow() -> Problem {
    let detail = format!(
        "The file comes too slowly: nothing for {} seconds, less than {LEAST_RATE} bytes a second, or not all within {}.",
        SILENCE.as_secs(),
        UPLOAD_TIMEOUT.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
}

fn bad_file(detail: &str) -> Problem {
    Problem::invalid(vec![FieldError::body("/file", detail)])
}

/// Streams the one file of a form to the disk.
async fn receive(
    state: &State,
    request: &HttpRequest,
    payload: Payload,
    limits: &UploadLimits,
) -> Result<(String, NamedTempFile), Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let is_form =
        kind.is_some_and(|it| it.trim().to_ascii_lowercase().starts_with("multipart/form-data"));
    if !is_form {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send the file as the field `file` of a form, with the header Content-Type: multipart/form-data.",
        ));
    }
    let mut form = Multipart::new(request.headers(), payload);
    let deadline = Instant::now() + UPLOAD_TIMEOUT;
    let mut taken = None;
    while let Some(field) = timeout_at(deadline, form.next()).await.map_err(|_| too_slow())? {
        let mut field = field.map_err(|error| broken(&error))?;
        if field.name() != Some("file") || taken.is_some() {
            return Err(bad_file("must be the one field of the form"));
        }
        let name = field.content_disposition().and_then(|it| {
            let extended =
                it.get_filename_ext().map(|it| String::from_utf8_lossy(&it.value).into_owned());
            extended.or_else(|| it.get_filename().map(str::to_owned))
        });
        let file = state.files.new_file().await.map_err(|error| unavailable(&error))?;
        let file = take(&mut field, file, deadline, limits.max_bytes).await?;
        taken = Some((name.unwrap_or_default(), file));
    }
    taken.ok_or_else(|| bad_file("is missing"))
}

fn broken(error: &actix_multipart::MultipartError) -> Problem {
    let detail = format!("The form cannot be read: {error}");
    Problem::new(StatusCode::BAD_REQUEST, "malformed", detail)
}

async fn take(
    field: &mut Field,
    mut file: NamedTempFile,
    deadline: Instant,
    limit: u64,
) -> Result<NamedTempFile, Problem> {
    let mut length = 0_u64;
    let started = Instant::now();
    loop {
        let next = timeout_at(deadline, timeout(SILENCE, field.next())).await;
        let Ok(Ok(chunk)) = next else { return Err(too_slow()) };
        let Some(chunk) = chunk else { return Ok(file) };
        let chunk = chunk.map_err(|error| broken(&error))?;
        length = length.saturating_add(chunk.len() as u64);
        if length > limit {
            return Err(too_large(usize::try_from(limit).unwrap_or(usize::MAX)));
        }
        let waited = started.elapsed();
        if waited > SILENCE && length < waited.as_secs().saturating_mul(LEAST_RATE) {
            return Err(too_slow());
        }
        let written = block(move || file.write_all(&chunk).map(|()| file)).await;
        let written = written.map_err(std::io::Error::other).and_then(|done| done);
        file = written.map_err(|error| unavailable(&error))?;
    }
}

/// What makes an address good.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AddressQuery {
    /// Until when it is, in seconds since 1970.
    expires: i64,
    /// Ours.
    signature: String,
}

/// The bytes of an attachment, at the address that a message gives (`url`, `thumbnail_url`). Needs no token: it is signed, and good for a short time.
#[utoipa::path(
    tag = "messages",
    security(()),
    params(
        ("id" = i64, Path, description = "The attachment's number"),
        ("part" = inline(Part), Path, description = "The file, or a small picture of it"),
        AddressQuery,
    ),
    responses(
        (status = 200, description = "All of it", content_type = "*/*", body = Vec<u8>),
        (status = 206, description = "The part that `Range` asks for", content_type = "*/*", body = Vec<u8>),
        (status = 410, body = Problem, content_type = "application/problem+json", description = "The address has expired"),
        (status = 416, body = Problem, content_type = "application/problem+json", description = "There is no such part"),
        Errors,
    ),
)]
#[get("/v1/attachments/{id}/{part}")]
pub(super) async fn get_attachment(
    state: Shared,
    request: HttpRequest,
    path: Path<(String, String)>,
    query: Query<AddressQuery>,
) -> Result<HttpResponse, Problem> {
    let (id, part) = path.into_inner();
    let id = path_number(&id).ok_or(Refusal::AttachmentNotFound)?;
    let part = match part.as_str() {
        "file" => Part::File,
        "thumbnail" => Part::Thumbnail,
        _ => return Err(Refusal::AttachmentNotFound.into()),
    };
    let context = context(&request);
    let AddressQuery { expires, signature } = query.0;
    let left = expires.saturating_sub(context.now.timestamp());
    let find = move |reader: &mut crate::store::Reader<'_>| {
        attachments::at_address(reader, &context, id, part, expires, &signature)
    };
    let attachment = state.store.read(find).await?;
    let open = state.config.api.allowed_origins.is_empty();
    let policy = if open { "same-site" } else { "cross-origin" };
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((header::CACHE_CONTROL, format!("private, max-age={left}, immutable")))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        ))
        // Pages of other sites show it where they may call at all.
        .insert_header(("Cross-Origin-Resource-Policy", policy))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    match (part, &attachment.thumbnail) {
        (Part::Thumbnail, None) => Err(Refusal::AttachmentNotFound.into()),
        (Part::Thumbnail, Some(key)) => thumbnail(&state, answer, key).await,
        (Part::File, _) => whole_or_part(&state, &request, answer, &attachment).await,
    }
}

/// A small picture has no length that is known; it is short.
async fn thumbnail(
    state: &State,
    mut answer: actix_web::HttpResponseBuilder,
    key: &str,
) -> Result<HttpResponse, Problem> {
    const MAX_THUMBNAIL_BYTES: usize = 4 << 20;
    let length = MAX_THUMBNAIL_BYTES as u64;
    let mut chunks = state.files.get(key, 0, length).await.map_err(|error| gone(&error))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) if bytes.len() + chunk.len() <= MAX_THUMBNAIL_BYTES => bytes.extend(chunk),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Ok(_) => break,
            Err(error) => return Err(unavailable(&error)),
        }
    }
    let is_png = bytes.starts_with(b"\x89PNG");
    let kind = if is_png { "image/png" } else { "image/jpeg" };
    Ok(answer.content_type(kind).insert_header((header::CONTENT_DISPOSITION, "inline")).body(bytes))
}

async fn whole_or_part(
    state: &State,
    request: &HttpRequest,
    mut answer: actix_web::HttpResponseBuilder,
    attachment: &Attachment,
) -> Result<HttpResponse, Problem> {
    let size = u64::try_from(attachment.size).unwrap_or(0);
    let (from, last) = match wanted(request, size) {
        Wanted::All => (0, size.saturating_sub(1)),
        Wanted::Part(from, last) => (from, last),
        Wanted::Nothing => {
            let problem = Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_not_satisfiable",
                format!("This file has {size} bytes."),
            );
            let mut refused = problem.error_response();
            if let Ok(value) = format!("bytes */{size}").parse() {
                refused.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            return Ok(refused);
        }
    };
    let length = last - from + 1;
    if length < size {
        answer
            .status(StatusCode::PARTIAL_CONTENT)
            .insert_header((header::CONTENT_RANGE, format!("bytes {from}-{last}/{size}")));
    }
    let bytes = state.files.get(&attachment.file, from, length).await;
    let bytes = bytes.map_err(|error| gone(&error))?;
    let is_picture = attachment.mime_type.starts_with("image/");
    let kind = match attachment.mime_type.as_str() {
        "text/plain" => "text/plain; charset=utf-8",
        kind => kind,
    };
    Ok(answer
        .content_type(kind)
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CONTENT_DISPOSITION, disposition(&attachment.name, is_picture)))
        .body(SizedStream::new(length, bytes)))
}

fn gone(error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Refusal::AttachmentNotFound.into();
    }
    unavailable(error)
}

/// What a `Range` asks for: of several parts, and of what is no range, all (RFC 9110, section 14.2).
enum Wanted {
    All,
    Part(u64, u64),
    Nothing,
}

fn wanted(request: &HttpRequest, size: u64) -> Wanted {
    if !request.headers().contains_key(header::RANGE) {
        return Wanted::All;
    }
    match Range::parse(request) {
        Ok(Range::Bytes(ranges)) => match ranges.as_slice() {
            [range] => range
                .to_satisfiable_range(size)
                .map_or(Wanted::Nothing, |(from, last)| Wanted::Part(from, last)),
            _ => Wanted::All,
        },
        _ => Wanted::All,
    }
}

/// What RFC 8187 leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Pictures are shown, everything else is saved; under its name in both ways of writing it (RFC 6266).
fn disposition(name: &str, is_picture: bool) -> String {
    let way = if is_picture { "inline" } else { "attachment" };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-._ ".contains(c) { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    format!("{way}; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(name, PLAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::erasure;
    use crate::store::testing::databases;
    use crate::testing::{acting, context, shop};

    #[tokio::test]
    async fn a_file_whose_owner_is_erased_after_it_was_noted_leaves_no_bytes() {
        for mut fresh in databases() {
            shop(&mut fresh, 0);
            let folder = tempfile::tempdir().unwrap();
            let files = Files::open(&chaffer_shared::config::Files {
                folder: folder.path().display().to_string(),
                ..chaffer_shared::config::Files::default()
            })
            .unwrap();
            let store = Store::open(&fresh.url, 1, 100).unwrap();
            for is_swept in [false, true] {
                let mut upload = files.new_file().await.unwrap();
                upload.write_all(b"hello").unwrap();
                let prepared = files.prepare(upload, "a.txt", false).await.unwrap();
                let owner = if is_swept { "c" } else { "d" };
                let new = noted(&prepared, owner.into(), context().timestamp());
                let (attachment, _) =
                    fresh.write(|writer| attachments::note(writer, &context(), &new)).unwrap();
                fresh
                    .write(|writer| erasure::begin(writer, &acting("staff"), &context(), owner))
                    .unwrap();
                if is_swept {
                    crate::files::sweep::remove_all(&store, &files).await.unwrap();
                }
                let refused = keep(&store, &files, &prepared, attachment.id, new).await;
                assert_eq!(refused.unwrap_err().code, "user_erased");
                assert!(files.get(&prepared.key, 0, 1).await.is_ok(), "kept, or nothing is tested");
                crate::files::sweep::remove_all(&store, &files).await.unwrap();
                assert!(files.get(&prepared.key, 0, 1).await.is_err(), "{}", fresh.url);
                let start = (chrono::DateTime::UNIX_EPOCH.naive_utc(), 0);
                assert_eq!(fresh.read(|it| it.removed_attachments(start, 9)).unwrap(), []);
            }
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        assert_eq!(
            disposition("a\"b; é\r\n.txt", false),
            "attachment; filename=\"a_b_ ___.txt\"; filename*=UTF-8''a%22b%3B%20%C3%A9%0D%0A.txt"
        );
    }
}
