// Swagger UI over the API's own document. What is tried out is called with the reader's session and its CSRF token.
"use strict";

const csrfToken = () => document.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/)?.[1] ?? "";

SwaggerUIBundle({
  url: document.getElementById("api-docs").dataset.document,
  dom_id: "#api-docs",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  validatorUrl: null, // it would tell another site of this one
  requestInterceptor: (request) => {
    if (new URL(request.url, location.href).origin === location.origin && !request.headers.Authorization) {
      request.headers["X-CSRFToken"] = csrfToken();
    }
    return request;
  },
});
