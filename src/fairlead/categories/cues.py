"""What speaks for which category: data only, read by `rules`.

The words are those that people use for each kind of work. A weight says how far a cue decides by itself: 4 to 6 names
the work ("refactor", "pytest"), 2 or 3 goes with it ("slow", "given"), 1 only leans. They were set by hand, then
corrected on half of some 2,600 labelled developer prompts and issues, and judged on the other half; product names and
the wording of single issue templates are left out although they would score, since they say nothing elsewhere.
"""

from fairlead.domain.task import TaskCategory

CODING = TaskCategory.CODING
REFACTORING = TaskCategory.REFACTORING
TESTING = TaskCategory.TESTING
DOCUMENTATION = TaskCategory.DOCUMENTATION
DEBUGGING = TaskCategory.DEBUGGING
CODE_REVIEW = TaskCategory.CODE_REVIEW
UNKNOWN = TaskCategory.UNKNOWN

ORDER = (TESTING, CODE_REVIEW, DOCUMENTATION, REFACTORING, DEBUGGING, CODING, UNKNOWN)
"""Ties go to the earlier one: the narrower the work, the less likely that its words stand there by chance."""

# The first of these among the first few words of a prompt: the verb of an order, the type of a commit.
LEADS: dict[TaskCategory, dict[int, str]] = {
    CODING: {
        5: "def feat",
        4: "implement feature develop",
        3: "add build support allow provide make introduce program given from import enable",
        2: "how write create generate calculate convert compute design",
    },
    REFACTORING: {
        6: "refactor rename restructure deduplicate",
        5: "reduce extract simplify consolidate move inline migrate modernize modernise reorganize reorganise cleanup",
        4: "combine merge split replace rewrite remove clean tidy optimise optimize",
        3: "update modify improve",
        2: "change turn",
    },
    TESTING: {3: "test cover mock"},
    DOCUMENTATION: {6: "document docs", 3: "doc"},
    DEBUGGING: {
        6: "debug bug overflow segfault segmentation traceback exception bugfix hotfix",
        5: "fix diagnose troubleshoot resolve repair investigate crash",
        4: "cannot",
        3: "error why when not unexpected wrong broken crashes regression",
    },
    CODE_REVIEW: {6: "review lgtm critique audit diff", 2: "check"},
    UNKNOWN: {
        5: "hello hey question translate",
        4: "what who where which difference hi thanks",
        3: "explain",
        2: "is are does",
    },
}

# Words anywhere in what is read; each counts once, however often it stands there.
WORDS: dict[TaskCategory, dict[int, str]] = {
    CODING: {
        5: "feature",
        4: "way",
        3: "implement program script request integers algorithm regex endpoint",
        2: "function given returns list numbers strings array elements integer d support allow proposal query want",
        1: "write create add class component number new api would like possible string generate html css bash sql cli "
        "tool page flag",
    },
    REFACTORING: {
        6: "refactor refactoring refactored rename renaming restructure",
        5: "extract duplication deduplicate simplify migrate migration modernize modernise",
        4: "references accordingly readability readable cleanup inefficient consolidate usages callers debt legacy "
        "performance",
        3: "slow slower speed simpler cleaner optimize optimise duplicated named utils move maintainable repetitive "
        "located",
        2: "changing replace within repository split clean py remove parameter codebase",
        1: "functions method into time",
    },
    TESTING: {
        6: "pytest unittest jest tdd e2e mocks",
        5: "tests coverage",
        4: "fixture fixtures mock hypothesis",
        3: "test comprehensive",
        2: "testing framework suite cases edge unit",
        1: "setup",
    },
    DOCUMENTATION: {
        6: "docstring docstrings readme changelog javadoc jsdoc tutorial",
        5: "docs",
        4: "documentation document comments",
        3: "guide",
        1: "generate examples",
    },
    DEBUGGING: {
        6: "fail failing",
        5: "debug debugging bug crash crashes crashed crashing segfault segfaults traceback stacktrace deadlock "
        "fails failed failure",
        4: "fix error errors exception hangs reproduce repro leak throws incorrect cannot",
        3: "wrong unable unexpected nan null undefined regression overflow incorrectly warning stuck raises broken "
        "typeerror valueerror keyerror importerror modulenotfounderror attributeerror indexerror nameerror syntaxerror "
        "runtimeerror assertionerror referenceerror nullpointerexception doesn",
        2: "issue why steps expected actual didn isn compile running invalid already missing worked",
        1: "not when after trying following works",
    },
    CODE_REVIEW: {
        6: "review reviewing reviewer lgtm",
        5: "critique",
        4: "feedback",
        2: "pr diff pull vulnerabilities suggestions mistakes patch changes concerns",
        1: "merge",
    },
    UNKNOWN: {
        5: "question questions forum hello poem joke recipe capital",
        4: "mean meaning difference essay story email book trip weather",
        3: "vs hi why",
        2: "what does is thanks understand explain please am support",
        1: "i can thank version",
    },
}
