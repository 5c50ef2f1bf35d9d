"""Pages in the browser: experiments with people, and what models respond."""

from biml.errors import check_extra

check_extra("web", "pages in the browser need", "fastapi", "uvicorn", "sqlalchemy", "jinja2")
