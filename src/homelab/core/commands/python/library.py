"""What functions of well-known Python modules do with their arguments, as a table. To teach another, add a row.

Roles are those of `core.commands.knowledge`, by position; `-` for an argument that is no file.
"""

# By full name.
FUNCTIONS: dict[str, str] = {
    "shutil.copy": "r g",
    "shutil.copy2": "r g",
    "shutil.copyfile": "r w",
    "shutil.copytree": "R W",
    "shutil.move": "m g",
    "shutil.rmtree": "D",
    "shutil.unpack_archive": "r W",
    "os.remove": "d",
    "os.unlink": "d",
    "os.rename": "m w",
    "os.replace": "m w",
    "os.link": "r w",
    "os.symlink": "r w",
    "os.listdir": "v",
    "os.scandir": "v",
    "os.path.exists": "t",
    "os.path.isfile": "t",
    "os.path.getsize": "t",
    "os.path.getmtime": "t",
    "os.stat": "t",
    "os.mkfifo": "-",
    "numpy.load": "r",
    "numpy.loadtxt": "r",
    "numpy.genfromtxt": "r",
    "numpy.save": "w",
    "numpy.savez": "w",
    "numpy.savetxt": "w",
    "PIL.Image.open": "r",
    "cv2.imread": "r",
    "cv2.imwrite": "w",
    "xml.etree.ElementTree.parse": "r",
    "lxml.etree.parse": "r",
    "xml.dom.minidom.parse": "r",
    "joblib.load": "r",
    "joblib.dump": "- w",
    "torch.load": "r",
    "torch.save": "- w",
    "urllib.request.urlretrieve": "- w",
    "dotenv.load_dotenv": "r",
    "runpy.run_path": "s",
    "shelve.open": "u",
    "dbm.open": "u",
    "feedparser.parse": "-",
    "imageio.imread": "r",
    "imageio.imwrite": "w",
    "soundfile.read": "r",
    "soundfile.write": "w",
    "openpyxl.load_workbook": "r",
    "duckdb.read_csv": "r",
    "tarfile.open": "open",
    "zipfile.ZipFile": "open",
    "gzip.open": "open",
    "bz2.open": "open",
    "lzma.open": "open",
    "io.open": "open",
    "codecs.open": "open",
    "open": "open",
    "filelock.FileLock": "L",
    "filelock.SoftFileLock": "L",
    "portalocker.Lock": "L",
    "lockfile.LockFile": "L",
    "zc.lockfile.LockFile": "L",
    "fasteners.InterProcessLock": "L",
    "logging.FileHandler": "log",
    "logging.handlers.RotatingFileHandler": "log",
    "logging.handlers.TimedRotatingFileHandler": "log",
    "logging.handlers.WatchedFileHandler": "log",
}

# Methods of a path, on the path itself; what follows is for its arguments.
PATH_METHODS: dict[str, tuple[str, str]] = {
    "read_text": ("r", ""),
    "read_bytes": ("r", ""),
    "write_text": ("w", ""),
    "write_bytes": ("w", ""),
    "touch": ("c", ""),
    "unlink": ("d", ""),
    "exists": ("t", ""),
    "is_file": ("t", ""),
    "stat": ("t", ""),
    "rename": ("m", "w"),
    "symlink_to": ("w", "r"),
    "hardlink_to": ("w", "r"),
    "copy": ("r", "w"),
    "move": ("m", "w"),
}

# Methods of objects nobody knows, whose argument looks like a path.
METHODS: dict[str, str] = {
    **dict.fromkeys(("savefig", "save", "output", "write"), "w"),
    **dict.fromkeys(("imread", "load_workbook", "read", "parse", "from_file", "load_from_file"), "r"),
    **dict.fromkeys(
        ("upload_file", "upload", "upload_from_filename", "put", "send_file", "attach", "send_document"), "r"
    ),
    "download_file": "- - w",
    "download_to_filename": "w",
    "fget_object": "- - w",
    "fput_object": "- - r",
    "extractall": "W",
}

# Such as read_csv, scan_parquet; to_json, write_html, sink_csv.
PREFIXES = (("read_", "r"), ("scan_", "r"), ("to_", "w"), ("write_", "w"), ("sink_", "w"))

CALLS_SHELL = frozenset({"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"})
CALLS = frozenset(
    {"subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output", "subprocess.Popen"}
    | {"asyncio.create_subprocess_exec", "sh.Command"}
)
CONNECTS: dict[str, str] = {
    "sqlite3.connect": "",
    "aiosqlite.connect": "",
    "duckdb.connect": "",
    "psycopg2.connect": "postgresql",
    "psycopg.connect": "postgresql",
    "mysql.connector.connect": "mysql",
    "pymysql.connect": "mysql",
    "MySQLdb.connect": "mysql",
    "mariadb.connect": "mysql",
    "sqlalchemy.create_engine": "url",
}
# What hands on the list or text it is given.
PASSES = frozenset(
    {"sorted", "list", "set", "tuple", "reversed", "iter", "str", "pathlib.Path", "pathlib.PurePath", "os.fspath"}
)
NOW = frozenset(
    {
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.date.today",
        "datetime.datetime.utcnow",
        "time.localtime",
    }
    | {"time.gmtime", "pendulum.now", "arrow.now", "arrow.utcnow", "datetime.now", "date.today"}
)
