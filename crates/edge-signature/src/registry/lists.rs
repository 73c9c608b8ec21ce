//! Lists of a registry, for example of tags, which may have several pages.

use reqwest::header::LINK;
use serde::Deserialize;

use super::client::Registry;
use super::http::{Complete, Request};
use crate::error::Error;
use crate::json;
use crate::limits::MAX_MANIFEST_BYTES;

/// Maximum number of pages of one list: a server could link each page to another one for
/// ever.
const MAX_PAGES: usize = 256;
/// Size of the pages of one list, in bytes, above which no further page is requested.
const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Tags {
    // docker-registry sends `null` for a repository without tags.
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Registry {
    /// Requests all pages of a list, each linked by the one before, and returns their
    /// bodies.
    pub(super) async fn pages(&self, mut request: Request<'_>) -> Result<Vec<Vec<u8>>, Error> {
        let mut pages = Vec::new();
        let mut size = 0;
        while size <= MAX_LIST_BYTES && pages.len() < MAX_PAGES {
            let response = self.http.send(&request).await?;
            let next = next_page(&response);
            size += response.body.len();
            pages.push(response.body);
            match next {
                Some(link) => request.path = link,
                None => return Ok(pages),
            }
        }
        Err(Error::Unverifiable(format!(
            "{}: a list of more than {MAX_PAGES} pages or {MAX_LIST_BYTES} bytes",
            request.name
        )))
    }

    /// Returns the tags of the repository; an empty list if the repository does not
    /// exist.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        let name = self.repository.to_string();
        let request = Request::get(self.path("tags/list"), &name, MAX_MANIFEST_BYTES);
        let pages = match self.pages(request).await {
            Err(Error::NotFound(_)) => return Ok(Vec::new()),
            other => other?,
        };
        let mut tags = Vec::new();
        for page in pages {
            let page: Tags = json::parse(&page)
                .map_err(|e| Error::Unverifiable(format!("{name}: list of tags: {e}")))?;
            tags.extend(page.tags.unwrap_or_default());
        }
        Ok(tags)
    }

    /// Checks that the credentials give access to this repository.
    ///
    /// # Errors
    /// The credentials are rejected, or the registry does not answer.
    pub async fn login(&self) -> Result<(), Error> {
        let host = self.repository.host();
        let request = Request::get(self.path("tags/list?n=1"), host, MAX_MANIFEST_BYTES);
        // For a repository without images the registry answers 404, but only after it has
        // checked the credentials.
        match self.http.send(&request).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the link of the next page from the header `Link: <…>; rel="next"`.
fn next_page(response: &Complete) -> Option<String> {
    let link = response.headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    parameters.contains("next").then(|| target.into())
}
