"""Hand-written prompts for each category, as people word them: short orders, polite ones, pasted logs and code."""

PROMPTS: dict[str, tuple[str, ...]] = {
    "coding": (
        "write a function that reverses the words of a sentence",
        "Implement an LRU cache in Go with a fixed capacity.",
        "Could you please build a small REST endpoint that returns the current user as JSON?",
        "feat: add pagination to the orders list",
        "create a python script to download all images from a web page and store them in a folder",
        "I'd like a regex that matches ISO dates but not times",
        "How do I convert a list of strings to a list of integers in Rust?",
        "def is_palindrome(s: str) -> bool:\n    # True if s reads the same both ways\n    >>> is_palindrome('abba')",
        (
            "Add support for dark mode to the settings page. It should follow the system preference by default, "
            "remember what the user picked, and not flash on load. We use React 18; the theme lives in a context."
        ),
        "Generate a SQL query which gives the ten customers with the highest revenue per month",
    ),
    "debugging": (
        "debug the crash in the parser",
        "Fix this: TypeError: cannot read properties of undefined (reading 'map')",
        "why does my loop never end? it worked yesterday",
        "fix: race in the connection pool on shutdown",
        "My Docker container exits with code 137 after a few minutes, what is wrong?",
        "Traceback (most recent call last):\n  File \"app.py\", line 12, in <module>\n    main()\nKeyError: 'user'",
        "The login test is failing on CI but passes locally, please find out why and fix it",
        "Program segfaults when the input file is empty",
        "The app hangs after the second upload. Here is the log:\n"
        + "INFO waiting for worker\n" * 40
        + "ERROR worker timed out\nCan you find the bug?",
        "users report that the search returns wrong results since the last deploy; investigate",
    ),
    "testing": (
        "write tests for the payment module",
        "Write unit tests for this class, including edge cases.",
        "add pytest fixtures for the database and cover the error paths",
        "test: cover the retry loop",
        "Can you generate Jest tests for the checkout component?",
        "We need integration tests for the order API. Use testcontainers with PostgreSQL.",
        "increase the test coverage of src/billing to 90 %",
        "Create a mock for the S3 client so that the upload can be tested offline, and write the test cases",
        "please write a property-based test with hypothesis for the encoder",
    ),
    "documentation": (
        "document the API",
        "Add docstrings to all public functions in this module",
        "write a README for the project with install steps and a short example",
        "docs: explain the retry settings",
        "Could you update the changelog for release 2.3?",
        "Please write the API documentation of the /orders endpoints in OpenAPI style",
        "Write JSDoc comments for the following file:\n\n```js\nexport function add(a, b) { return a + b }\n```",
        "write a tutorial for newcomers on how to set up the development environment",
        "document what each field of this struct means",
    ),
    "code_review": (
        "review this pull request",
        "Please review my code and tell me what could be better",
        "Can you do a code review of the attached diff?",
        (
            "Review the following changes for security problems:\n\ndiff --git a/auth.py b/auth.py\n"
            "--- a/auth.py\n+++ b/auth.py\n@@ -1,4 +1,4 @@\n-def login(user):\n+def login(user, password):"
        ),
        "Is this PR ready to merge? Give me feedback on the design.",
        "LGTM or not? Have a look at this patch",
        "act as a senior reviewer: critique this implementation",
        "could you take a look at my PR and leave review comments",
        "audit this module for vulnerabilities",
    ),
    "refactoring": (
        "refactor the Parser class into smaller functions",
        "rename getUser to fetch_user and update all references",
        "Extract the validation logic into its own method",
        "Clean up this module without changing behaviour",
        "refactor: move the helpers out of main",
        "simplify this function, it has too many nested ifs",
        "Please remove the duplication between these two handlers",
        "Split utils.py into smaller modules and move each function to where it is used",
        "Could you restructure this legacy code so that it is more readable? Keep the public interface as it is.",
        "Migrate the class components to hooks",
    ),
    "unknown": (
        "hello",
        "what is the capital of France",
        "Hi there, how are you?",
        "thanks!",
        "Tell me a joke about cats",
        "What is the difference between TCP and UDP?",
        "translate good morning to Spanish",
        "who won the world cup in 1998",
        "",
        "   \n\t ",
        "Write a poem about the sea",
        "¿Cuál es la capital de Francia?",
    ),
}
