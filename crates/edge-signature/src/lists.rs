//! Lists that a registry keeps, which may come in several pages.

use reqwest::header::LINK;
use serde::Deserialize;

use crate::http::{Answer, Ask};
use crate::manifest::{LARGEST_MANIFEST, json};
use crate::{Error, Registry};

/// Most pages of a list that are read, and bytes of all of them.
const PAGES: usize = 256;
const LARGEST_LIST: usize = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Registry {
    /// A list, which may come in several pages.
    pub(crate) async fn pages(&self, mut ask: Ask<'_>) -> Result<Vec<Vec<u8>>, Error> {
        let mut pages = Vec::new();
        let mut size = 0;
        while size <= LARGEST_LIST && pages.len() < PAGES {
            let answer = self.http.ask(&ask).await?;
            let next = next(&answer);
            size += answer.body.len();
            pages.push(answer.body);
            match next {
                Some(link) => ask.path = link,
                None => return Ok(pages),
            }
        }
        let what = ask.what;
        Err(Error::CannotTell(format!("{what}: a list without end")))
    }

    /// Names in the repository.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        let what = self.repository.to_string();
        let ask = Ask::get(self.path("tags/list"), &what, LARGEST_MANIFEST);
        let pages = match self.pages(ask).await {
            Err(Error::NotFound(_)) => return Ok(Vec::new()),
            other => other?,
        };
        let mut all = Vec::new();
        for page in pages {
            let page: Tags =
                json(&page).map_err(|e| Error::CannotTell(format!("{what}: list of tags: {e}")))?;
            all.extend(page.tags.unwrap_or_default());
        }
        Ok(all)
    }

    /// Do the credentials open this repository? One that is still empty counts.
    ///
    /// # Errors
    /// They do not, or it cannot be told.
    pub async fn login(&self) -> Result<(), Error> {
        let host = self.repository.host();
        let ask = Ask::get(self.path("tags/list?n=1"), host, LARGEST_MANIFEST);
        match self.http.ask(&ask).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The next page: `<…>; rel="next"`.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    parameters.contains("next").then(|| target.into())
}
