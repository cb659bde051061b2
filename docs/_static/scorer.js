// The page or section that is listed first for a search that begins with the word.
const PAGES = {
  async: "how-to/async",
  cancel: "how-to/cancelling",
  cost: "how-to/costs",
  docker: "how-to/images",
  download: "how-to/files",
  fail: "how-to/failures",
  file: "how-to/files",
  gpu: "how-to/gpus",
  image: "how-to/images",
  install: "install",
  log: "how-to/logs",
  proxy: "how-to/workspaces",
  retr: "how-to/retries",
  test: "how-to/testing",
  timeout: "how-to/sessions#timeouts",
  upload: "how-to/files",
};
const query = (new URLSearchParams(window.location.search).get("q") || "").trim().toLowerCase();
const first = PAGES[Object.keys(PAGES).find((word) => query.startsWith(word))];

// Sphinx's defaults, except for `score`.
var Scorer = {
  score: ([page, _title, anchor, _description, score]) =>
    score + (page + anchor === first ? 100 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
